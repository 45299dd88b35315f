<?php
// Read by Debian's wp-config.php at each request. The values are in a file beside it, which settings.php writes from the
// node; the password of the database is in it only in a container that was converged, and in no image.

$dockerforge = json_decode((string) @file_get_contents('/etc/wordpress/dockerforge.json'), true);
if (!isset($dockerforge['db']['password'])) {
    if (PHP_SAPI === 'cli') {
        fwrite(STDERR, "the blog has not been converged yet\n");
        exit(1);
    }
    http_response_code(503);
    header('Content-Type: text/plain');
    header('Retry-After: 10');
    exit("This blog is being set up.\n");
}
define('DB_HOST', $dockerforge['db']['host']);
define('DB_NAME', $dockerforge['db']['name']);
define('DB_USER', $dockerforge['db']['user']);
define('DB_PASSWORD', $dockerforge['db']['password']);
define('DB_CHARSET', 'utf8mb4');
$table_prefix = $dockerforge['db']['prefix'];

$dockerforge_at = $dockerforge['domain'];
if ($dockerforge_at === null) {
    // By whatever name it is asked; as far as that is a name.
    $asked = strtolower($_SERVER['HTTP_HOST'] ?? '');
    $dockerforge_at = preg_match('/^[a-z0-9.-]+(:[0-9]+)?$|^\[[0-9a-f:]+\](:[0-9]+)?$/', $asked) ? $asked : 'localhost';
}
// What is in front may ask by another name, by the container's for one: WordPress would send it from here to there.
$_SERVER['HTTP_HOST'] = $dockerforge_at;
if ($dockerforge['scheme'] === 'https') {
    // Whoever came here came through what speaks TLS in front.
    $_SERVER['HTTPS'] = 'on';
}
define('WP_HOME', $dockerforge['scheme'] . '://' . $dockerforge_at);
define('WP_SITEURL', WP_HOME);
define('WP_CONTENT_DIR', '/var/lib/wordpress/wp-content');
// The folder is the web server's: plugins are installed without asking for an FTP server.
define('FS_METHOD', 'direct');
unset($dockerforge, $dockerforge_at, $asked);
