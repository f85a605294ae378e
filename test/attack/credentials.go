package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/wire/mqtt"
	longlinev1 "github.com/longline/longline/proto/longline/v1"
)

// wrongPasswords guesses a user's password, from many addresses.
func wrongPasswords(c *crew, member int) error {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	return provoke(conn, encode(userOf("bad-user", "guess "+strconv.FormatUint(c.lives.Add(1), 16)+" of a password")))
}

// userOf returns the CONNECT of a device with a password.
func userOf(name, password string) *mqtt.Packet {
	p := connectAs(name, password)
	p.Connect.Username = name
	return p
}

// passwordsKnown makes a device whose password was accepted connect again and again.
func passwordsKnown(ctx context.Context, r *round) error {
	return returns(ctx, r, userOf("bench-user", honestPassword))
}

// sessionNames claims the id of a device that has a session, without a credential.
func sessionNames(c *crew, member int) error {
	conn, err := c.dial(c.MQTT, member)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := connectAs("bench-"+strconv.Itoa(member%100), "")
	p.Connect.HasUsername, p.Connect.HasPassword = false, false
	return provoke(conn, encode(p))
}

// sessionsResume makes a device with a session and a token connect again and again.
func sessionsResume(ctx context.Context, r *round) error {
	p := connectAs("bench-back", honestToken)
	p.Connect.Clean, p.Properties.SessionExpiry = false, keptFor
	return returns(ctx, r, p)
}

// returns makes a device that was let in before connect again and again, while the attack lasts. It returns an error if the device is refused.
func returns(ctx context.Context, r *round, p *mqtt.Packet) error {
	c := newCrew(ctx, r.gateway.targets)
	come := func() error {
		d, err := c.join(0, p)
		if err == nil {
			err = d.Close()
		}
		return err
	}
	for first := come(); first != nil; first = come() {
		if ctx.Err() != nil {
			return fmt.Errorf("an honest device has never come in: %w", first)
		}
		time.Sleep(between)
	}
	for end := time.Now().Add(r.options.Duration); time.Now().Before(end); time.Sleep(between) {
		if err := come(); err != nil {
			return fmt.Errorf("an honest device was not let in again: %w", err)
		}
	}
	return nil
}

// twoNames revokes a device that has the name of another device's token. Only to revoke the token must end that other device.
func twoNames(ctx context.Context, r *round) error {
	c := newCrew(ctx, r.gateway.targets)
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "bad-named", "jti": "4711", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		return err
	}
	d, err := c.join(0, connectAs("bad-named", token))
	if err != nil {
		return err
	}
	defer d.Close()
	b := c.backend()
	if err := revoke(ctx, b, &longlinev1.RevokeRequest{Device: "4711"}); err != nil {
		return err
	}
	if err := d.answered(); err != nil {
		return fmt.Errorf("a device with the token 4711 was closed with the device 4711: %w", err)
	}
	if err := revoke(ctx, b, &longlinev1.RevokeRequest{Credential: "4711"}); err != nil {
		return err
	}
	return d.ends()
}

// withdrawnToken removes a token from the gateway's file: the gateway must close the device that it let in.
func withdrawnToken(ctx context.Context, r *round) error {
	c := newCrew(ctx, r.gateway.targets)
	d, err := c.join(0, connectAs("gone-1", withdrawn))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := os.WriteFile(filepath.Join(r.gateway.folder, "tokens"), []byte(goodTokens), 0o600); err != nil {
		return err
	}
	return d.ends()
}

// endTime is the time within which the gateway must close a connection whose credential is no longer valid. It looks at files every 2 s.
const endTime = 10 * time.Second

// ends waits for the end of the connection.
func (c *client) ends() error {
	if err := c.SetReadDeadline(time.Now().Add(endTime)); err != nil {
		return err
	}
	for {
		_, err := c.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return errors.New("a connection lives on whose credential is not good any more")
		}
		if err != nil {
			return nil
		}
	}
}

// foreignWills connects with wills that the device may not publish.
func foreignWills(ctx context.Context, r *round) error {
	c := newCrew(ctx, r.gateway.targets)
	for _, topic := range []string{"device/bench-1/x", "$presence/bench-1", topicOf(0, "x/+")} {
		p := c.stolen(0)
		p.Connect.HasWill = true
		p.Connect.Will = mqtt.Will{Topic: topic, Payload: []byte("x")}
		var refused *refusal
		d, err := c.join(0, p)
		if err == nil {
			_ = d.Close()
			return errors.New("a device was let in with a will on " + topic)
		}
		if !errors.As(err, &refused) {
			return err
		}
	}
	return nil
}
