<?php
// A backend as many are written for PHP: what a path means is found out by
// parse_url and by what PHP's own server says, and the secret served if either
// leads to /v2/secret. It answers with what it was asked and told.
$headers = [];
foreach (getallheaders() as $name => $value) { array_push($headers, $name, $value); }
foreach ($_SERVER as $name => $value) {
    if (str_starts_with($name, 'HTTP_') && is_string($value)) { array_push($headers, str_replace('_', '-', substr($name, 5)), $value); }
}
$readings = [
    (string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH),
    rawurldecode((string) parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH)),
    $_SERVER['PATH_INFO'] ?? '',
    $_SERVER['SCRIPT_NAME'] ?? '',
];
$secret = false;
foreach ($readings as $path) { $secret = $secret || preg_match('~^/+v2/+secret/?$~i', $path); }
header('Content-Type: application/json');
echo json_encode(['secret' => $secret, 'target' => $_SERVER['REQUEST_URI'], 'headers' => $headers, 'trailers' => []]);
