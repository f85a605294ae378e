package setting

import (
	"errors"
	"testing"
)

// lamp is one kind of section.
type lamp struct {
	Watts int
	Tags  []string
}

func (l lamp) WithDefaults() lamp {
	if l.Watts == 0 {
		l.Watts = 40
	}
	return l
}

func (l lamp) Validate() error {
	if l.Watts > 100 {
		return errors.New("watts: too bright")
	}
	return nil
}

func (l lamp) open(hours int) (int, error) {
	if hours > 24 {
		return 0, errors.New("a day is shorter")
	}
	return l.Watts * hours, nil
}

// A kind works on the section that it was made of, as that is when it is asked.
func TestKindOf(t *testing.T) {
	var l lamp
	if k := KindOf("lamp", &l, lamp.open); k.Given {
		t.Error("nothing is said about it, and it is given")
	}
	l.Tags = []string{"a"}
	k := KindOf("lamp", &l, lamp.open)
	if !k.Given || k.Key != "lamp" {
		t.Errorf("%+v", k)
	}
	k.SetDefaults()
	if l.Watts != 40 || k.Validate() != nil {
		t.Errorf("%+v, %v", l, k.Validate())
	}
	if got, err := k.Open(3); got != 120 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := k.Open(25); err == nil {
		t.Error("opened")
	}
	l.Watts = 101
	if err := k.Validate(); err == nil || err.Error() != "watts: too bright" {
		t.Error(err)
	}
}

func TestOnly(t *testing.T) {
	for _, test := range []struct {
		a, b, c bool
		want    string // the key or the error
	}{
		{false, false, false, "a: nothing says how bright it is: want one of a, b, c"},
		{true, false, false, "a"},
		{false, false, true, "c"},
		{false, true, true, "c: want one of b, c, not several"},
		{true, true, true, "b: want one of a, b, c, not several"},
	} {
		only, err := Only([]Kind[int, int]{{Key: "a", Given: test.a}, {Key: "b", Given: test.b}, {Key: "c", Given: test.c}}, "how bright it is")
		got := only.Key
		if err != nil {
			got += err.Error()
		}
		if got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
