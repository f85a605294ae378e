package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// shared is a secret that is long enough for every algorithm.
var shared = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

func tokenVerifier(t testing.TB, config JWT, w *reload.Watcher, c *clock) *jwtVerifier {
	t.Helper()
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	v, err := newTokenVerifier(t.Context(), config, w, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestJWTAlgorithms(t *testing.T) {
	c, all := newClock(), asymmetric
	public := tokenVerifier(t, JWT{KeyFile: written(t, publicPEM(t, "RSA", "P-256", "P-384", "P-521", "Ed25519")), Algorithms: all}, new(reload.Watcher), c)
	keyOf := map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "EdDSA": "Ed25519"}
	for _, method := range all {
		key := keyOf[method]
		if key == "" {
			key = "RSA"
		}
		if got := asked(t, public, &Credentials{Bearer: signed(t, c, method, keys()[key], nil)}); got != "m-7" {
			t.Errorf("%s: %s", method, got)
		}
	}
	private := tokenVerifier(t, JWT{Secret: setting.SecretFile(written(t, string(shared)+"\n")), Algorithms: symmetric}, new(reload.Watcher), c)
	for _, method := range symmetric {
		if got := asked(t, private, &Credentials{Bearer: signed(t, c, method, shared, nil)}); got != "m-7" {
			t.Errorf("%s: %s", method, got)
		}
	}
}

// TestJWTConfusion has tokens that a careless verifier would accept.
func TestJWTConfusion(t *testing.T) {
	c := newClock()
	pemText := publicPEM(t, "RSA")
	block, _ := pem.Decode([]byte(pemText))
	v := tokenVerifier(t, JWT{KeyFile: written(t, pemText)}, new(reload.Watcher), c)
	good := signed(t, c, "RS256", keys()["RSA"], nil)
	header, rest, _ := strings.Cut(good, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	recoded := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	critical := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{"sub": "m-7", "exp": c.now().Add(time.Hour).Unix()})
	critical.Header["crit"] = []string{"b64"}
	extended, err := critical.SignedString(keys()["RSA"])
	if err != nil {
		t.Fatal(err)
	}
	const signatures = "refused: the token's signature or algorithm is not accepted"
	for name, tt := range map[string]struct{ token, want string }{
		"none":                 {signed(t, c, "none", jwt.UnsafeAllowNoneSignatureType, nil), signatures},
		"None":                 {recoded(`{"alg":"None"}`) + "." + claims + ".", "refused: the token's key is unknown"},
		"public key as secret": {signed(t, c, "HS256", []byte(pemText), nil), signatures},
		"its DER as secret":    {signed(t, c, "HS256", block.Bytes, nil), signatures},
		"not configured":       {signed(t, c, "RS512", keys()["RSA"], nil), signatures},
		"another key":          {signed(t, c, "ES256", keys()["P-256"], nil), signatures},
		"other claims":         {header + "." + recoded(`{"sub":"m-8","exp":9999999999}`) + "." + signature, signatures},
		"no signature":         {header + "." + claims + ".", signatures},
		"extended":             {extended, "refused: the token has critical extensions"},
		"not base64":           {"!." + claims + "." + signature, "refused: the token is malformed"},
		"two parts":            {header + "." + claims, "not mine"},
		"opaque":               {"abcdef", "not mine"},
		"nothing":              {"", "not mine"},
	} {
		if got := asked(t, v, &Credentials{Bearer: tt.token}); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if got := asked(t, v, &Credentials{Bearer: good}); got != "m-7" {
		t.Errorf("the good one: %s", got)
	}
}

func TestJWTClaims(t *testing.T) {
	c := newClock()
	file := written(t, string(shared))
	base := JWT{Secret: setting.SecretFile(file), Leeway: time.Minute}
	strict, lax, other := base, base, base
	strict.Issuer, strict.Audience = "https://id", "longline"
	lax.NoExpiry = true
	other.DeviceClaim = "device"
	at := func(d time.Duration) int64 { return c.now().Add(d).Unix() }
	to := jwt.MapClaims{"iss": "https://id", "aud": []string{"x", "longline"}}
	for _, tt := range []struct {
		name   string
		config JWT
		claims jwt.MapClaims
		want   string
	}{
		{"plain", base, nil, "m-7"},
		{"expired", base, jwt.MapClaims{"exp": at(-time.Minute)}, "refused: the token has expired"},
		{"within the leeway", base, jwt.MapClaims{"exp": at(-59 * time.Second)}, "m-7"},
		{"no exp", base, jwt.MapClaims{"exp": nil}, "refused: the token lacks a required claim"},
		{"no exp, allowed", lax, jwt.MapClaims{"exp": nil}, "m-7"},
		{"expired, exp not required", lax, jwt.MapClaims{"exp": at(-time.Hour)}, "refused: the token has expired"},
		{"exp of another type", lax, jwt.MapClaims{"exp": "soon"}, "refused: the token is not valid"},
		{"not yet", base, jwt.MapClaims{"nbf": at(61 * time.Second)}, "refused: the token is not valid yet"},
		{"soon enough", base, jwt.MapClaims{"nbf": at(59 * time.Second)}, "m-7"},
		{"issuer and audience", strict, to, "m-7"},
		{"no issuer", strict, jwt.MapClaims{"aud": "longline"}, "refused: the token lacks a required claim"},
		{"another issuer", strict, jwt.MapClaims{"iss": "https://id/", "aud": "longline"}, "refused: the token is from another issuer"},
		{"another audience", strict, jwt.MapClaims{"iss": "https://id", "aud": "x"}, "refused: the token is for another audience"},
		{"device claim", other, jwt.MapClaims{"device": "m-9"}, "m-9"},
		{"no device claim", other, nil, "refused: the token has no string as claim device"},
		{"device of another type", base, jwt.MapClaims{"sub": 7}, "refused: the token has no string as claim sub"},
		{"jti of another type", base, jwt.MapClaims{"jti": 7}, "refused: the token's jti is not a string"},
		{"permissions of another type", base, jwt.MapClaims{"permissions": "all"}, "refused: the token's claim permissions is not an object with lists of filters and services"},
		{"permissions of no filter", base, jwt.MapClaims{"permissions": map[string]any{"publish": []string{"a/#/b"}}}, "refused: the token's claim permissions is not an object with lists of filters and services"},
	} {
		v := tokenVerifier(t, tt.config, new(reload.Watcher), c)
		if got := asked(t, v, &Credentials{Bearer: signed(t, c, "HS256", shared, tt.claims)}); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestJWTIdentity(t *testing.T) {
	c := newClock()
	v := tokenVerifier(t, JWT{Secret: setting.SecretFile(written(t, string(shared))), DeviceClaim: "dev", PermissionsClaim: "may"}, new(reload.Watcher), c)
	token := signed(t, c, "HS256", shared, jwt.MapClaims{
		"dev": "m-9", "sub": "factory", "jti": "j-1", "may": map[string]any{"publish": []string{"site/{device}/#"}},
	})
	i, err := v.Verify(t.Context(), &Credentials{Bearer: token})
	if err != nil {
		t.Fatal(err)
	}
	if i.Device != "m-9" || i.Subject != "factory" || i.ID != "j-1" || !i.Expires.Equal(c.now().Add(time.Hour+30*time.Second)) {
		t.Errorf("got %+v", i)
	}
	if !i.MayPublish("site/m-9/x") || i.MayPublish("device/m-9/x") || i.MaySubscribe("broadcast/#") {
		t.Error("permissions are not those of the claim")
	}
	c.pass(i.Expires.Sub(c.now()) - time.Second)
	if got := asked(t, v, &Credentials{Bearer: token}); got != "m-9" {
		t.Errorf("before Expires: %s", got)
	}
	c.pass(time.Second)
	if got := asked(t, v, &Credentials{Bearer: token}); got != "refused: the token has expired" {
		t.Errorf("at Expires: %s", got)
	}
}

func TestJWTKeysFollowTheFile(t *testing.T) {
	c, w := newClock(), new(reload.Watcher)
	file := written(t, publicPEM(t, "RSA"))
	v := tokenVerifier(t, JWT{KeyFile: file}, w, c)
	old, young := signed(t, c, "PS256", keys()["RSA"], nil), signed(t, c, "ES256", keys()["P-256"], nil)
	for _, step := range []struct {
		names    []string
		old, new bool
	}{{[]string{"RSA"}, true, false}, {[]string{"RSA", "P-256"}, true, true}, {[]string{"P-256"}, false, true}, {nil, false, true}} {
		rewrite(t, file, publicPEM(t, step.names...))
		w.Look()
		if got := asked(t, v, &Credentials{Bearer: old}) == "m-7"; got != step.old {
			t.Errorf("%v: the old key: %v", step.names, got)
		}
		if got := asked(t, v, &Credentials{Bearer: young}) == "m-7"; got != step.new {
			t.Errorf("%v: the new key: %v", step.names, got)
		}
	}
}

func TestKeyFileErrors(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for text, says := range map[string]string{
		"":                                "contains no PEM block",
		block("PUBLIC KEY", []byte("no")): "block 1: ",
		publicPEM(t, "P-256") + block("PRIVATE KEY", nil):                     `block 2: want a public key or a certificate, not "PRIVATE KEY"`,
		block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&short.PublicKey)): "block 1: an RSA key of fewer than 2048 bits",
	} {
		if _, err := parsePublicKeys([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%.40q: %v, want %s...", text, err, says)
		}
	}
	long := JWT{Secret: setting.SecretFile(written(t, string(shared[:63]))), Algorithms: []string{"HS256", "HS512"}}
	if _, err := newSecret(long, new(reload.Watcher)); err == nil || !strings.Contains(err.Error(), "a secret of 64 bytes") {
		t.Errorf("63 bytes for HS512: %v", err)
	}
}

// FuzzJWT checks that every accepted token is also accepted by the library's strict parser,
// and that the identity is that of the claims.
func FuzzJWT(f *testing.F) {
	c := newClock()
	v := tokenVerifier(f, JWT{Secret: setting.SecretFile(written(f, string(shared))), Issuer: "i"}, new(reload.Watcher), c)
	claims := jwt.MapClaims{"iss": "i", "jti": "j", "permissions": map[string]any{"publish": []string{"{device}/#"}}}
	good := signed(f, c, "HS256", shared, claims)
	f.Add(good, "")
	f.Add(signed(f, c, "HS512", shared, claims), "")
	f.Add(signed(f, c, "none", jwt.UnsafeAllowNoneSignatureType, claims), "")
	f.Add(good[:len(good)-1], `{"sub":"m-7","iss":"i","exp":1e300}`)
	f.Add("e30.e30.", `{"sub":["m-7"],"iss":"i","exp":1800000001,"permissions":{"subscribe":["#/#"]}}`)
	f.Add("..", `{"sub":"m-7","iss":"i","exp":1800000001,"nbf":-1e18,"permissions":null}`)
	f.Fuzz(func(t *testing.T, token, payload string) {
		check(t, v, c, token)
		if payload != "" { // any payload, with a valid signature
			text := strings.Split(good, ".")[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
			mac, err := jwt.SigningMethodHS256.Sign(text, shared)
			if err != nil {
				t.Fatal(err)
			}
			check(t, v, c, text+"."+base64.RawURLEncoding.EncodeToString(mac))
		}
	})
}

func check(t *testing.T, v *jwtVerifier, c *clock, token string) {
	i, err := v.Verify(t.Context(), &Credentials{Bearer: token})
	if err != nil {
		if got := says(i, err); !strings.HasPrefix(got, "refused: ") && got != "not mine" {
			t.Fatalf("%q: %s", token, got)
		}
		return
	}
	var claims jwt.RegisteredClaims
	_, err = jwt.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return shared, nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithIssuer("i"), jwt.WithTimeFunc(c.now), jwt.WithLeeway(30*time.Second))
	if err != nil {
		t.Fatalf("%q is accepted, but: %v", token, err)
	}
	if i.Device != claims.Subject || i.ID != claims.ID || !i.Expires.Equal(claims.ExpiresAt.Add(30*time.Second)) {
		t.Fatalf("%q: %+v of %+v", token, i, claims)
	}
}
