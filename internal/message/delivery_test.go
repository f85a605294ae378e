package message

import (
	"reflect"
	"testing"
)

// A field that With or Clone forgets would be lost only for some receivers.
func TestCopiesHaveEveryField(t *testing.T) {
	m := &Message{ID: 7}
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() && v.Field(i).IsZero() {
			v.Field(i).Set(sample(f.Type))
		}
	}
	d := &Delivery{Share: "$share/g/a"}
	c := m.With(d)
	if c.Delivery != d || c == m {
		t.Errorf("%+v", c)
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "Delivery" {
			continue
		}
		if got := reflect.ValueOf(c).Elem().Field(i); !reflect.DeepEqual(got.Interface(), v.Field(i).Interface()) {
			t.Errorf("%s is %v, want %v", f.Name, got, v.Field(i))
		}
	}
	clone := reflect.ValueOf(m.Clone()).Elem()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Name == "ID" || f.Name == "Delivery" {
			continue
		}
		if got := clone.Field(i); !reflect.DeepEqual(got.Interface(), v.Field(i).Interface()) {
			t.Errorf("of the clone, %s is %v, want %v", f.Name, got, v.Field(i))
		}
	}
	c.Encoded(fakeEncoder{})
	if m.encodings.Load() != nil {
		t.Error("the two share encodings")
	}
}

// sample is a value other than zero.
func sample(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(t, 1, 1))
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Struct:
		if t == reflect.TypeFor[Debtor]() {
			return reflect.ValueOf(DebtorOf("x", 0))
		}
		for i := range v.NumField() {
			v.Field(i).Set(sample(v.Field(i).Type()))
		}
	default:
		v.Set(reflect.ValueOf(1).Convert(t))
	}
	return v
}

type fakeEncoder struct{}

func (fakeEncoder) Class() int             { return 1 }
func (fakeEncoder) Encode(*Message) []byte { return []byte("x") }
