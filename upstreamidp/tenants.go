package upstreamidp

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Microsoft Entra ID has issuers that stand for all tenants: common, organizations
// and consumers. Their metadata have a template,
// https://login.microsoftonline.com/{tenantid}/v2.0, and each token has the issuer of
// its person's tenant. Such issuers are refused. OpenID Connect Discovery §4.3
// requires a single issuer; a sub and an e-mail address identify a person only within
// one tenant, and the owner of any tenant may use any address in it, so that an allow
// rule would admit strangers. A separate upstream for each tenant is safe.

// microsoftHosts are the hosts of the public and the national clouds.
var microsoftHosts = []string{
	"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.windows.net",
}

// consumers is the tenant of all personal Microsoft accounts.
const consumers = "9188040d-6c67-4c5b-b112-36a304b66dad"

// checkTenant refuses an issuer that stands for many tenants, without a request.
func checkTenant(issuer *url.URL) error {
	tenant, _, _ := strings.Cut(strings.Trim(issuer.Path, "/"), "/")
	for _, host := range microsoftHosts {
		if !strings.EqualFold(issuer.Hostname(), host) {
			continue
		}
		switch strings.ToLower(tenant) {
		case "", "common", "organizations":
			return fmt.Errorf("issuer %q stands for the people of all tenants: want that of yours, https://%s/<tenant "+
				"id>/v2.0, and one upstream for each tenant", issuer, host)
		case "consumers":
			return fmt.Errorf("issuer %q: want https://%s/%s/v2.0, which is how it calls itself", issuer,
				host, consumers)
		}
	}
	return nil
}

// manyTenants returns the error for such a provider on any host. It is recognized by
// the template in its metadata, so no list of hosts is needed.
func manyTenants(asked, template string) error {
	return &deviceauth.ConfigError{
		Reason: fmt.Sprintf("the provider at %q stands for the people of many tenants and calls itself %q: want the "+
			"issuer of your own tenant, and one upstream for each tenant", asked, template)}
}
