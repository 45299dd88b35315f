<?php
// Waits until the database that the node on standard input names lets us in: it may have been started a moment ago. A refusal
// is not waited out. Asked before anything is changed, so that a wrong password does not take down a blog that runs.

const PATIENCE = 30;

function refuse(string $why): never
{
    fwrite(STDERR, $why . "\n");
    exit(1);
}

require __DIR__ . '/node.php';
$db = node()['wordpress']['db'];
isset($db['name'], $db['user'], $db['password']) || refuse(
    'there is no database: link one with "provision", or say wordpress.db with name, user and password in the configuration'
);
mysqli_report(MYSQLI_REPORT_OFF);
[$host, $port] = explode(':', $db['host'] ?? 'mysql') + [1 => '3306'];
for ($deadline = time() + PATIENCE; ; usleep(300_000)) {
    $connection = mysqli_init();
    $connection->options(MYSQLI_OPT_CONNECT_TIMEOUT, 5);
    if (@$connection->real_connect($host, $db['user'], $db['password'], $db['name'], (int) $port)) {
        exit(0);
    }
    // 2002 and 2003: nobody of that name, or nobody listens there (yet).
    if (!in_array($connection->connect_errno, [2002, 2003], true) || time() > $deadline) {
        refuse("the database at $host: $connection->connect_error");
    }
}
