<?php
// The node on standard input, with the database that a link gave this container: where the configuration names none, it is
// what stands in the secrets. Read by the programs beside this.

function node(): array
{
    $node = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
    $db = $node['wordpress']['db'] ?? [];
    if (!isset($db['password'])) {
        foreach (['host', 'name', 'user', 'password'] as $part) {
            $secret = @file_get_contents('/run/secrets/DB_' . strtoupper($part));
            if ($secret !== false) {
                $db[$part] = $secret;
            }
        }
    }
    $node['wordpress']['db'] = $db;
    return $node;
}
