// Package httpclient makes HTTP clients that trust a private certificate authority in
// addition to the system's.
package httpclient

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"
)

// Roots returns the system's certificates and those in a PEM file, for example of a
// company's certificate authority. It returns nil, which means the system's alone, if
// file is empty. A file without a certificate is an error, so that a mistake does not
// silently select the system's certificates.
func Roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil { // no certificates, as in an empty container image
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca %s: want a file with certificates in PEM", file)
	}
	return roots, nil
}

// New returns a client that trusts the certificates of [Roots], and uses the proxy
// that the environment names (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
func New(file string, timeout time.Duration) (*http.Client, error) {
	roots, err := Roots(file)
	if roots == nil || err != nil {
		return &http.Client{Timeout: timeout}, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	return &http.Client{Transport: transport, Timeout: timeout}, nil
}
