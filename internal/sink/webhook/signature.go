package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
)

// signatureHeader has when a request was signed, and an HMAC for each secret: t=1764268800,v1=HEX,v1=HEX. The HMAC is that of the decimal
// digits of t, a full stop, and the body as it is sent: so the receiver checks it before it decompresses or parses anything.
const signatureHeader = "Longline-Signature"

// signature returns the header for a body, or an empty text if there is no secret.
func signature(now time.Time, body []byte, secrets ...func() []byte) string {
	t := strconv.FormatInt(now.Unix(), 10)
	text := "t=" + t
	signed := false
	for _, reveal := range secrets {
		secret := reveal()
		if len(secret) == 0 {
			continue
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(t + "."))
		mac.Write(body)
		text += ",v1=" + hex.EncodeToString(mac.Sum(nil))
		signed = true
	}
	if !signed {
		return ""
	}
	return text
}
