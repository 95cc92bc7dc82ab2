package devicecheck

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// certified returns a server whose certificate has the given period, and the roots
// that trust it.
func certified(t *testing.T, from, until time.Time) (address string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"api.example.com"}, IsCA: true,
		BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return s.URL, roots
}

const aDay = 24 * time.Hour

func TestEachStepOfTheWayIsToldApart(t *testing.T) {
	t.Parallel()
	now := time.Now()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	plainText := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plainText.Close)
	good, trusted := certified(t, now.Add(-aDay), now.Add(90*aDay))
	over, trustsOver := certified(t, now.Add(-90*aDay), now.Add(-aDay))
	ending, trustsEnding := certified(t, now.Add(-80*aDay), now.Add(10*aDay))
	early, trustsEarly := certified(t, now.Add(aDay), now.Add(90*aDay))
	tests := []struct {
		name, url      string
		roots          *x509.CertPool
		check          string
		want           Status
		detail, mended string
	}{
		{"no URL", "api.example.com", nil, "reach.url", Fail, "not the URL", "https://api.example.com"},
		{"another scheme", "ftp://api.example.com", nil, "reach.url", Fail, "not the URL", "https://"},
		{"no TLS beyond this machine", "http://api.example.com/", nil, "reach.url", Fail, "not https",
			"named api.example.com"},
		{"a name that nobody has", "https://nobody.invalid/", nil, "reach.name", Fail, "nobody.invalid", "DNS"},
		{"a port that nobody has", closed.URL, nil, "reach.connection", Fail, "refused", "`default_bind`"},
		{"a certificate of nobody's", good, nil, "reach.tls", Fail, "an unknown issuer", "`tls internal`"},
		{"a certificate for another name", strings.Replace(good, "127.0.0.1", "localhost", 1), trusted, "reach.tls",
			Fail, "api.example.com and not for localhost", "Name the site localhost"},
		{"a certificate that is over", over, trustsOver, "reach.tls", Fail, "ended on", "renew"},
		{"a certificate that is to come", early, trustsEarly, "reach.tls", Fail, "counts from", "NTP"},
		{"a certificate that ends soon", ending, trustsEnding, "reach.tls", Warn, "9 days from now", "renew"},
		{"a port without TLS", strings.Replace(plainText.URL, "http:", "https:", 1), nil, "reach.tls", Fail,
			"does not speak TLS", "port"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := alone(t, Config{URL: test.url, ClientID: "tv", Roots: test.roots}, test.check, test.want)
			if got.Status != test.want || !strings.Contains(got.Detail, test.detail) ||
				!strings.Contains(got.Remedy, test.mended) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// alone returns the result of a check before which all have passed. Where it fails,
// those after it are skipped.
func alone(t *testing.T, c Config, check string, want Status) Result {
	t.Helper()
	ended := map[string]Result{}
	for _, r := range Run(t.Context(), c) {
		ended[r.Name] = r
		before := strings.HasPrefix(r.Name, "reach.") && ended[check].Name == ""
		if before && r.Status != Pass || want == Fail && !before && r.Name != check && r.Status != Skipped {
			t.Errorf("also: %+v", r)
		}
	}
	return ended[check]
}

// A certificate of six days is renewed in its last two.
func TestShortCertificateIsNoConcern(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for left, want := range map[time.Duration]Status{5 * aDay: Pass, aDay: Warn} {
		c := &x509.Certificate{NotBefore: now.Add(left - 6*aDay), NotAfter: now.Add(left)}
		if got := checkExpiry(c, now); got.status != want {
			t.Errorf("%v left of six days: %+v, want %s", left, got, want)
		}
	}
}

func TestClocksAreCompared(t *testing.T) {
	t.Parallel()
	for ahead, want := range map[time.Duration]Status{
		0: Pass, 5 * time.Second: Pass, -6 * time.Second: Warn, 6 * time.Second: Warn, time.Minute: Warn,
		61 * time.Second: Fail, -2 * time.Minute: Fail,
	} {
		if got := (date{ahead: ahead, reported: true}).judge(); got.status != want || want != Pass && got.remedy == "" {
			t.Errorf("%v: %+v, want %s", ahead, got, want)
		}
	}
	if got := (date{}).judge(); got.status != Warn {
		t.Errorf("without a date: %+v", got)
	}
}
