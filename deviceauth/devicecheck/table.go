package devicecheck

// checks are all of them, in the order in which they are asked: each after
// what it needs. docs/check.md has the same names.
var checks = []check{
	{"reach.url", "", (*run).reachURL},
	{"reach.name", "reach.url", (*run).reachName},
	{"reach.connection", "reach.name", (*run).reachConnection},
	{"reach.tls", "reach.connection", (*run).reachTLS},
	{"reach.http", "reach.tls", (*run).reachHTTP},

	{"resource.guard", "reach.http", (*run).resourceGuard},
	{"resource.token", "resource.guard", (*run).resourceToken},
	{"resource.cache", "resource.guard", (*run).resourceCache},
	{"resource.metadata", "reach.http", (*run).resourceMetadata},
	{"resource.name", "resource.metadata", (*run).resourceName},
	{"resource.servers", "resource.metadata", (*run).resourceServers},

	{"server.reach", "reach.http", (*run).serverReach},
	{"clock", "server.reach", (*run).clock},

	{"metadata.oauth", "server.reach", (*run).metadataOAuth},
	{"metadata.openid", "metadata.oauth", (*run).metadataOpenID},
	{"metadata.type", "metadata.oauth", (*run).metadataType},
	{"metadata.issuer", "metadata.oauth", (*run).metadataIssuer},
	{"metadata.endpoints", "metadata.oauth", (*run).metadataEndpoints},
	{"metadata.grants", "metadata.oauth", (*run).metadataGrants},
	{"metadata.cors", "metadata.endpoints", (*run).metadataCORS},

	{"keys.set", "metadata.endpoints", (*run).keysSet},
	{"keys.named", "keys.set", (*run).keysNamed},
	{"keys.secret", "metadata.endpoints", (*run).keysSecret},

	// From here on a client's secret may be sent, so it has to be sure to whom.
	{"device.code", "metadata.endpoints metadata.issuer resource.name resource.servers", (*run).deviceCode},
	{"device.members", "device.code", (*run).deviceMembers},
	{"device.cache", "device.code", (*run).deviceCache},
	{"device.poll", "device.code", (*run).devicePoll},

	{"errors.method", "metadata.endpoints", (*run).errorsMethod},
	{"errors.client", "metadata.endpoints", (*run).errorsClient},
	{"errors.grant", "device.code", (*run).errorsGrant},
	{"errors.code", "device.code", (*run).errorsCode},
	{"errors.repeated", "device.code", (*run).errorsRepeated},
	{"errors.type", "metadata.endpoints", (*run).errorsType},
	{"errors.cache", "metadata.endpoints", (*run).errorsCache},
	{"cors.foreign", "metadata.endpoints", (*run).corsForeign},
	{"cors.origin", "metadata.endpoints", (*run).corsOrigin},

	{"page.address", "device.code", (*run).deviceAddress},
	{"page.open", "page.address", (*run).devicePage},
	{"page.policy", "page.open", (*run).devicePolicy},
	{"page.code", "page.open", (*run).signInPage},
	{"page.upstream", "page.code", (*run).signInUpstream},

	{"login.flow", "device.code", (*run).loginFlow},
	{"login.response", "login.flow", (*run).loginResponse},
	{"login.token", "login.flow", (*run).loginToken},
	{"login.id", "login.flow", (*run).loginID},
	{"login.userinfo", "login.id", (*run).loginUserinfo},
	{"login.api", "login.token resource.name", (*run).loginAPI},
	{"login.refresh", "login.flow", (*run).loginRefresh},
	{"login.revoke", "login.flow", (*run).loginRevoke},
}
