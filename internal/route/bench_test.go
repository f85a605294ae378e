package route

import "testing"

func BenchmarkApply(b *testing.B) {
	for _, c := range []struct {
		name   string
		config Config
	}{
		{"nothing", Config{}},
		{"where topic", Config{Where: `topic.startsWith("device/")`}},
		{"where payload", Config{Where: "payload.t > 20"}},
		{"set and drop", Config{Set: map[string]string{"id": "{source}", "kind": "{topic[2]}"}, Drop: []string{"a"}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, v, m := open(b, c.config), new(View), telemetry()
			b.ReportAllocs()
			for b.Loop() {
				v.Reset(m)
				if keep, err := r.Apply(v); !keep || err != nil {
					b.Fatal(keep, err)
				}
				if _, _, err := v.Encoded(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkTemplate(b *testing.B) {
	for _, text := range []string{"telemetry", "{source}", "site7/{topic[1]}/t", "telemetry.{payload.site}"} {
		b.Run(text, func(b *testing.B) {
			p, v, m := parse(b, text), new(View), telemetry()
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				v.Reset(m)
				var err error
				if dst, err = p.Text(v, dst[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
