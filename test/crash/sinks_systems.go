package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/sink/sinktest"
	"github.com/longline/longline/internal/wire/mqtt"
	"github.com/longline/longline/test/clients"
	"github.com/longline/longline/test/servers"
)

func always(context.Context) error { return nil }

// newKafka returns a Kafka, whose topic is read from its beginning on.
func newKafka() *system {
	return &system{
		name: "kafka", program: servers.KafkaProgram(), downtime: 4 * time.Second, pause: 30 * time.Second, cut: func(context.Context) {}, connect: always,
		setUp: func(ctx context.Context, s *system) error {
			client, err := kgo.NewClient(kgo.SeedBrokers(s.process.Address()))
			if err != nil {
				return err
			}
			defer client.Close()
			_, err = kadm.NewClient(client).CreateTopic(ctx, 4, 1, nil, streamName)
			return err
		},
		read: readKafka,
	}
}

func readKafka(ctx context.Context, s *system) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.process.Address()), kgo.ConsumeTopics(streamName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		s.book.Fault("kafka: " + err.Error())
		return
	}
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			headers := make(map[string]string, len(r.Headers))
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			s.arrived(headers["longline-place"], headers["longline-source"], headers["longline-topic"], r.Value)
		})
	}
}

// newPostgres returns a PostgreSQL, whose rows have numbers in the order in which they were written.
func newPostgres() *system {
	return &system{
		name: "postgres", program: servers.PostgresProgram(), downtime: 4 * time.Second, pause: 16 * time.Second, cut: func(context.Context) {}, connect: always,
		setUp: func(ctx context.Context, s *system) error {
			db, err := pgx.Connect(ctx, postgresURL(s))
			if err != nil {
				return err
			}
			defer func() { _ = db.Close(ctx) }()
			_, err = db.Exec(ctx, "create table "+streamName+" (id bigserial primary key, place bigint, source text, topic text, payload bytea)")
			return err
		},
		read: readPostgres,
	}
}

func postgresURL(s *system) string {
	return "postgres://postgres@" + s.process.Address() + "/postgres?sslmode=disable"
}

// readPostgres looks again and again for rows that are new.
func readPostgres(ctx context.Context, s *system) {
	seen := make(map[int64]bool)
	for ctx.Err() == nil {
		if db, err := pgx.Connect(ctx, postgresURL(s)); err == nil {
			for err == nil {
				err = readRows(ctx, s, db, seen)
				sleep(ctx, time.Second)
			}
			_ = db.Close(ctx)
		}
		sleep(ctx, 200*time.Millisecond)
	}
}

// lateRows is how many numbers a row may be behind the newest one when it is seen first: transactions that are under way together have theirs before
// they are committed.
const lateRows = 10_000

func readRows(ctx context.Context, s *system, db *pgx.Conn, seen map[int64]bool) error {
	newest := int64(0)
	for id := range seen {
		newest = max(newest, id)
	}
	rows, err := db.Query(ctx, "select id, place::text, source, topic, substring(payload from 1 for 20) from "+streamName+" where id > $1 order by id", newest-lateRows)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var place, source, topic string
		var payload []byte
		if err := rows.Scan(&id, &place, &source, &topic, &payload); err != nil {
			return err
		}
		if !seen[id] {
			seen[id] = true
			s.arrived(place, source, topic, payload)
		}
	}
	return rows.Err()
}

// subscriber reads what comes to a Mosquitto.
type subscriber struct {
	door  *sinktest.Proxy
	ready atomic.Bool // it has subscribed
	last  atomic.Int64
}

// newMosquitto returns a Mosquitto, to which the gateway connects through a door. It keeps nothing on its disk, which it would write only after it has
// acknowledged. So before a kill the door is closed until nothing comes to the subscriber any more, and afterwards it opens when the subscriber is there: what the
// gateway has an acknowledgement of has reached the subscriber.
func newMosquitto(door *sinktest.Proxy) *system {
	u := &subscriber{door: door}
	s := &system{
		name: "mosquitto", program: servers.MosquittoProgram("persistence false", "max_inflight_messages 0", "max_queued_messages 0"), downtime: 4 * time.Second, pause: 12 * time.Second,
		setUp: func(context.Context, *system) error { return nil },
	}
	s.read = u.run
	s.cut = func(ctx context.Context) {
		door.To("")
		door.Cut()
		const quiet = 500 * time.Millisecond
		u.last.Store(time.Now().UnixMicro()) // before this moment nobody may have looked
		for end := time.Now().Add(20 * time.Second); time.Since(time.UnixMicro(u.last.Load())) < quiet && time.Now().Before(end); {
			sleep(ctx, quiet/10)
		}
		u.ready.Store(false)
	}
	s.connect = func(ctx context.Context) error {
		for end := time.Now().Add(time.Minute); !u.ready.Load(); sleep(ctx, 20*time.Millisecond) {
			if err := ctx.Err(); err != nil || time.Now().After(end) {
				return errors.Join(errors.New("the subscriber does not come back"), err)
			}
		}
		door.To(s.process.Address())
		return nil
	}
	return s
}

// run subscribes, again after each end of a connection.
func (u *subscriber) run(ctx context.Context, s *system) {
	u.last.Store(time.Now().UnixMicro())
	for ctx.Err() == nil {
		if err := u.subscribe(ctx, s); err != nil {
			s.book.Event(s.name, "subscriber: "+err.Error())
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// subscribe reads until the connection ends.
func (u *subscriber) subscribe(ctx context.Context, s *system) error {
	conn, err := net.DialTimeout("tcp", s.process.Address(), time.Second)
	if err != nil {
		return err
	}
	c := clients.NewMQTTConn(conn, mqtt.V5)
	defer c.Close(false)
	connect := &mqtt.Packet{Type: mqtt.Connect, Connect: mqtt.Client{Version: mqtt.V5, ClientID: "subscriber"}}
	connect.Properties.SessionExpiry = 3600
	subscribe := &mqtt.Packet{Type: mqtt.Subscribe, ID: 1}
	for _, f := range streamFilters {
		subscribe.Subscriptions = append(subscribe.Subscriptions, mqtt.Subscription{Filter: f, QoS: message.AtLeastOnce})
	}
	if err := c.Send(connect, subscribe); err != nil {
		return err
	}
	for {
		select {
		case p, ok := <-c.Packets:
			switch {
			case !ok:
				return c.Err
			case p.Type == mqtt.Suback:
				u.ready.Store(true)
			case p.Type == mqtt.Publish:
				u.last.Store(time.Now().UnixMicro())
				var id, source string
				for _, each := range p.Properties.User {
					switch each.Key {
					case "longline-place":
						id = each.Value
					case "longline-source":
						source = each.Value
					}
				}
				s.arrived(id, source, p.Topic, p.Payload)
				if p.QoS == message.AtLeastOnce {
					_ = c.Send(&mqtt.Packet{Type: mqtt.Puback, ID: p.ID}) // of a broker that was killed there may be more to read
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
