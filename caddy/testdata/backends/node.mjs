// A backend as many are written for Node: it finds out what a path means by
// several of the ways that are in use, and serves its secret if any of them
// leads to /v2/secret. It answers with what it was asked and told.
import http from 'node:http';
import path from 'node:path';

const attempt = (reading) => { try { return reading(); } catch { return ''; } };
const decoded = (p) => attempt(() => decodeURIComponent(p)) || p;

function readings(url) {
  const raw = url.split(/[?#]/)[0];
  return [
    raw,
    attempt(() => new URL(url, 'http://backend').pathname),
    attempt(() => new URL(url).pathname),
    attempt(() => new URL(decoded(url), 'http://backend').pathname),
    decoded(raw),
    decoded(decoded(raw)).replace(/[?#\0].*$/s, ''),
    decoded(raw).replaceAll('\\', '/'),
    decoded(raw).replace(/;[^/]*/g, ''),
    raw.replace(/;[^/]*/g, ''),
    path.posix.normalize(decoded(raw)),
    path.posix.normalize(decoded(raw).replaceAll('\\', '/').replace(/;[^/]*/g, '')),
    path.posix.normalize(raw),
  ];
}

const isSecret = (p) => /^\/+v2\/+secret\/?$/i.test(p);

const server = http.createServer((request, response) => {
  request.resume();
  request.on('end', () => {
    const secret = readings(request.url).some(isSecret);
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({ secret, target: request.url, headers: request.rawHeaders, trailers: request.rawTrailers }));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
