// Package httpclient makes HTTP clients that trust a certificate authority of one's own
// beside the system's.
package httpclient

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Roots returns the system's certificates and those of a PEM file, say of a company's
// own certificate authority; nil, which is the system's alone, where no file is named.
// A file without a certificate is an error, rather than a silent return to the
// system's.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil { // a system that has none, such as an empty container
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca %s: want a file with certificates in PEM", file)
	}
	return roots, nil
}

// New returns a client that trusts those, and goes by the proxy that the
// environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
func New(file string, timeout time.Duration) (*http.Client, error) {
	roots, err := Roots(file)
	if roots == nil || err != nil {
		return &http.Client{Timeout: timeout}, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: transport, Timeout: timeout}, nil
}
