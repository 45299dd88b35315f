<?php
// Writes what config-default.php reads, from the node on standard input. Run as root, by wordpress.sh.

const FILE = '/etc/wordpress/dockerforge.json';

require __DIR__ . '/node.php';
$wanted = node()['wordpress'];
$settings = [
    'domain' => $wanted['domain'] ?? null,
    'scheme' => $wanted['scheme'] ?? 'http',
    'db' => $wanted['db'] + ['host' => 'mysql', 'prefix' => 'wp_'],
];
ksort($settings['db']);
$text = json_encode($settings, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR) . "\n";
if (is_file(FILE) && file_get_contents(FILE) === $text) {
    exit(0);
}
$new = FILE . '.new';
@unlink($new);
umask(0077);
// The web server reads it, and nobody else.
if (
    file_put_contents($new, $text) !== strlen($text) || !chgrp($new, 'www-data') || !chmod($new, 0640) || !rename($new, FILE)
) {
    fwrite(STDERR, 'could not write ' . FILE . "\n");
    exit(1);
}
echo "settings of the blog\n";
