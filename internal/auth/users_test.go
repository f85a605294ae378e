package auth

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/longline/longline/internal/reload"
)

// userLine returns a line of a users file, with a cheap hash.
func userLine(t *testing.T, device, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return device + ":" + string(hash) + "\n"
}

const (
	password = "a password of 24 letters"
	another  = "another of as many again"
)

func TestUsers(t *testing.T) {
	var w reload.Watcher
	file := written(t, userLine(t, "cp-1", password)+strings.Replace(userLine(t, "site:cp-2", another), "$2a$", "$2y$", 1))
	v, err := newUsers(Basic{File: file}.WithDefaults(), &w, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	const wrong, length = "refused: wrong user or password", "refused: the password is shorter or longer than allowed"
	ask := func(user, password string) string {
		return asked(t, v, &Credentials{HasBasic: true, Username: user, Password: password})
	}
	for range 2 { // bcrypt first, then the MAC that it left
		for _, tt := range []struct{ user, password, want string }{
			{"cp-1", password, "cp-1"},
			{"cp-1", another, wrong},
			{"site:cp-2", another, "site:cp-2"},
			{"cp-3", password, wrong},
			{"", password, wrong},
			{"cp-1", password[:15], length},
			{"cp-1", strings.Repeat("x", 41), length},
		} {
			if got := ask(tt.user, tt.password); got != tt.want {
				t.Errorf("%s, %q: %s, want %s", tt.user, tt.password, got, tt.want)
			}
		}
	}
	if got := asked(t, v, &Credentials{Username: "cp-1", Password: password}); got != "not mine" {
		t.Errorf("without Basic: %s", got)
	}
	rewrite(t, file, userLine(t, "cp-1", another))
	w.Look()
	if got := ask("cp-1", password); got != wrong {
		t.Errorf("the password of before the change: %s", got)
	}
	if got := ask("cp-1", another); got != "cp-1" {
		t.Errorf("the new password: %s", got)
	}
}

func TestUsersRemembersOneMAC(t *testing.T) {
	v, err := newUsers(Basic{File: written(t, userLine(t, "cp-1", password))}.WithDefaults(), new(reload.Watcher), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	who := v.file.Get()["cp-1"]
	right := func(password string) bool {
		_, err := v.Verify(t.Context(), &Credentials{HasBasic: true, Username: "cp-1", Password: password})
		return err == nil
	}
	if right(another) || who.known.Load() != nil {
		t.Error("a wrong password is remembered")
	}
	if !right(password) || who.known.Load() == nil {
		t.Fatal("a right password is not remembered")
	}
	who.hash = nil // from now on bcrypt accepts nothing
	if !right(password) || right(another) {
		t.Error("what is remembered does not decide")
	}
}

func TestUsersFileErrors(t *testing.T) {
	good := userLine(t, "cp-1", password)
	for text, says := range map[string]string{
		"cp-1":                              "line 1: want device:hash",
		good + "cp-2:secret":                "line 2: want a bcrypt hash",
		strings.Repeat("x", 129) + good[4:]: "line 1: device id",
		good + good:                         "line 2: the same device",
	} {
		if _, err := parseUsers([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%q: %v, want %s...", text, err, says)
		}
	}
}
