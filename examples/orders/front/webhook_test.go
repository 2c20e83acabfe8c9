package front

import (
	"strconv"
	"testing"
	"time"
)

func TestOnlyWhatTheBankSignedLatelyIsAuthentic(t *testing.T) {
	t.Parallel()
	const secret = "the secret of these tests"
	f := New(nil, nil, secret)
	now := time.Unix(1_800_000_000, 0)
	body := []byte(`{"order":"17"}`)
	signed := func(secret string, at time.Time, body string) map[string]string {
		timestamp := strconv.FormatInt(at.Unix(), 10)
		return map[string]string{"x-timestamp": timestamp, "x-signature": Sign(secret, timestamp, []byte(body))}
	}
	for name, c := range map[string]struct {
		headers map[string]string
		ok      bool
	}{
		"signed now":                   {signed(secret, now, string(body)), true},
		"signed four minutes ago":      {signed(secret, now.Add(-4*time.Minute), string(body)), true},
		"signed six minutes ago":       {signed(secret, now.Add(-6*time.Minute), string(body)), false},
		"signed six minutes ahead":     {signed(secret, now.Add(6*time.Minute), string(body)), false},
		"another secret":               {signed("another secret, as long", now, string(body)), false},
		"another body":                 {signed(secret, now, `{"order":"18"}`), false},
		"no signature":                 {map[string]string{"x-timestamp": strconv.FormatInt(now.Unix(), 10)}, false},
		"nothing":                      {nil, false},
		"another time than was signed": {map[string]string{"x-timestamp": "1800000001", "x-signature": signed(secret, now, string(body))["x-signature"]}, false},
	} {
		if err := f.authentic(c.headers, body, now); (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestAShortSecretIsRefusedAtTheStart(t *testing.T) {
	t.Parallel()
	for secret, ok := range map[string]bool{"": false, "123456789012345": false, "1234567890123456": true} {
		if err := New(nil, nil, secret).CheckSecret(); (err == nil) != ok {
			t.Errorf("%q: error %v", secret, err)
		}
	}
}
