package devicecheck

// checks lists all checks in the order in which they run; each stands after those
// that it needs. docs/check.md has the same names. The first name in needs is the
// check whose result this one uses: if that one was skipped, this one is skipped with
// the same text. The other names must only not have failed.
var checks = []check{
	{name: "reach.url", ask: (*run).reachURL},
	{name: "reach.name", needs: "reach.url", ask: (*run).reachName},
	{name: "reach.connection", needs: "reach.name", ask: (*run).reachConnection},
	{name: "reach.tls", needs: "reach.connection", ask: (*run).reachTLS},
	{name: "reach.http", needs: "reach.tls", ask: (*run).reachHTTP},

	{name: "resource.guard", needs: "reach.http", ask: (*run).resourceGuard},
	{name: "resource.token", needs: "resource.guard", ask: (*run).resourceToken},
	{name: "resource.cache", needs: "resource.guard", ask: (*run).resourceCache},
	{name: "resource.metadata", needs: "reach.http", ask: (*run).resourceMetadata},
	{name: "resource.name", needs: "resource.metadata", ask: (*run).resourceName},
	{name: "resource.servers", needs: "resource.metadata", ask: (*run).resourceServers},

	{name: "server.reach", needs: "reach.http", ask: (*run).serverReach},
	{name: "clock", needs: "server.reach", ask: (*run).clock},

	{name: "metadata.oauth", needs: "server.reach", ask: (*run).metadataOAuth},
	{name: "metadata.openid", needs: "metadata.oauth", ask: (*run).metadataOpenID},
	{name: "metadata.type", needs: "metadata.oauth", ask: (*run).metadataType},
	{name: "metadata.issuer", needs: "metadata.oauth", ask: (*run).metadataIssuer},
	{name: "metadata.endpoints", needs: "metadata.oauth", ask: (*run).metadataEndpoints},
	{name: "metadata.grants", needs: "metadata.oauth", ask: (*run).metadataGrants},
	{name: "metadata.cors", needs: "metadata.endpoints", ask: (*run).metadataCORS},

	{name: "keys.set", needs: "metadata.endpoints", ask: (*run).keysSet},
	{name: "keys.named", needs: "keys.set", ask: (*run).keysNamed},
	{name: "keys.secret", needs: "metadata.endpoints", ask: (*run).keysSecret},

	// The later checks may send the client's secret, so issuer and endpoints must be
	// right.
	{name: "device.code", needs: "metadata.endpoints metadata.issuer resource.name resource.servers",
		ask: (*run).deviceCode},
	{name: "device.members", needs: "device.code", ask: (*run).deviceMembers},
	{name: "device.cache", needs: "device.code", ask: (*run).deviceCache},
	{name: "device.poll", needs: "device.code", ask: (*run).devicePoll},

	{name: "errors.method", needs: "metadata.endpoints", ask: (*run).errorsMethod},
	{name: "errors.client", needs: "metadata.endpoints", ask: (*run).errorsClient},
	{name: "errors.grant", needs: "device.code", ask: (*run).errorsGrant},
	{name: "errors.code", needs: "device.code", ask: (*run).errorsCode},
	{name: "errors.repeated", needs: "device.code", ask: (*run).errorsRepeated},
	{name: "errors.type", needs: "metadata.endpoints", ask: (*run).errorsType},
	{name: "errors.cache", needs: "metadata.endpoints", ask: (*run).errorsCache},
	{name: "cors.foreign", needs: "metadata.endpoints", ask: (*run).corsForeign},
	{name: "cors.origin", needs: "metadata.endpoints", ask: (*run).corsOrigin},

	{name: "browser.metadata", needs: "metadata.endpoints", ask: (*run).browserMetadata},
	{name: "browser.redirect", needs: "browser.metadata", ask: (*run).browserRedirect},

	{name: "page.address", needs: "device.code", ask: (*run).deviceAddress},
	{name: "page.open", needs: "page.address", ask: (*run).devicePage},
	{name: "page.policy", needs: "page.open", ask: (*run).devicePolicy},
	{name: "page.code", needs: "page.open", ask: (*run).signInPage},
	{name: "page.upstream", needs: "page.code", ask: (*run).signInUpstream},

	{name: "login.flow", needs: "device.code", ask: (*run).loginFlow},
	{name: "login.response", needs: "login.flow", ask: (*run).loginResponse},
	{name: "login.token", needs: "login.flow", ask: (*run).loginToken},
	{name: "login.id", needs: "login.flow", ask: (*run).loginID},
	{name: "login.userinfo", needs: "login.id", ask: (*run).loginUserinfo},
	{name: "login.api", needs: "login.token resource.name", ask: (*run).loginAPI},
	{name: "login.refresh", needs: "login.flow", ask: (*run).loginRefresh},
	{name: "login.revoke", needs: "login.flow", ask: (*run).loginRevoke},
}
