<?php
// Installs the blog and makes it what the node on standard input says. Run as the web server, by wordpress.sh. A line on
// standard output for each thing that was not so before; what is wrong on standard error.
//
// Nothing that was written in the blog is lost: the first post is written again only when the node says another one.

function changed(string $what): void
{
    fwrite(STDOUT, $what . "\n");
}

function refuse(string $why): never
{
    fwrite(STDERR, $why . "\n");
    exit(1);
}

require __DIR__ . '/node.php';
$wanted = node()['wordpress'];
isset($wanted['admin']['password']) || refuse('the node has no password in wordpress.admin');

// Nothing is sent: no mail program is here, and no other site is asked.
function wp_mail(): bool
{
    return true;
}
$_SERVER['HTTP_HOST'] = $_SERVER['SERVER_NAME'] = $wanted['domain'] ?? 'localhost';
$_SERVER += ['REQUEST_METHOD' => 'GET', 'REMOTE_ADDR' => '127.0.0.1'];
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
define('WP_INSTALLING', true);
// What WordPress prints is for browsers.
ob_start();
require '/usr/share/wordpress/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
add_filter('pre_http_request', fn() => new WP_Error('offline', 'not while installing'));

/** WordPress checks passwords as PHP once sent them: with backslashes before quotes and backslashes. */
function as_checked(string $password): string
{
    return wp_slash($password);
}

function option(string $name, string $value, string $what): void
{
    $value = sanitize_option($name, $value);
    if (get_option($name) !== $value) {
        update_option($name, $value);
        changed($what);
    }
}

function language(string $language): void
{
    $there = get_available_languages();
    if ($language !== 'en_US' && !in_array($language, $there, true)) {
        refuse("the language $language is not in the image; there are en_US, " . implode(', ', $there));
    }
    option('WPLANG', $language === 'en_US' ? '' : $language, 'language of the blog');
}

function theme(string $theme): void
{
    wp_get_theme($theme)->exists() || refuse("the theme $theme is not in the image");
    if (get_option('stylesheet') !== $theme) {
        switch_theme($theme);
        changed("theme $theme");
    }
}

function administrator(array $admin): WP_User
{
    $user = get_user_by('login', $admin['user']);
    if (!$user) {
        $id = wp_create_user($admin['user'], as_checked($admin['password']), $admin['email']);
        is_wp_error($id) && refuse('user ' . $admin['user'] . ': ' . $id->get_error_message());
        $user = get_user_by('id', $id);
        changed('user ' . $admin['user']);
    }
    if (!in_array('administrator', $user->roles, true)) {
        $user->set_role('administrator');
        changed('role of user ' . $admin['user']);
    }
    if ($user->user_email !== $admin['email']) {
        $id = wp_update_user(['ID' => $user->ID, 'user_email' => $admin['email']]);
        is_wp_error($id) && refuse('user ' . $admin['user'] . ': ' . $id->get_error_message());
        changed('address of user ' . $admin['user']);
    }
    if (!wp_check_password(as_checked($admin['password']), get_userdata($user->ID)->user_pass, $user->ID)) {
        wp_set_password(as_checked($admin['password']), $user->ID);
        changed('password of user ' . $admin['user']);
    }
    option('admin_email', $admin['email'], 'address of the blog');
    return $user;
}

/** The option says which post it is, and what it was last made of. */
function post(array $post, WP_User $author, bool $fresh): void
{
    $made = get_option('dockerforge_post') ?: ['id' => $fresh ? 1 : 0, 'of' => ''];
    $of = hash('sha256', json_encode([$post['title'], $post['content']], JSON_THROW_ON_ERROR));
    if ($made['of'] === $of) {
        return;
    }
    wp_set_current_user($author->ID);
    $fields = [
        'post_title' => $post['title'], 'post_content' => $post['content'], 'post_name' => sanitize_title($post['title']),
        'post_status' => 'publish', 'post_author' => $author->ID,
    ];
    $there = $made['id'] && get_post($made['id']);
    $id = $there ? wp_update_post(wp_slash($fields + ['ID' => $made['id']]), true) : wp_insert_post(wp_slash($fields), true);
    is_wp_error($id) && refuse('the first post: ' . $id->get_error_message());
    update_option('dockerforge_post', ['id' => $id, 'of' => $of], false);
    changed('first post');
}

$fresh = !is_blog_installed();
if ($fresh) {
    $admin = $wanted['admin'];
    wp_install($wanted['title'], $admin['user'], $admin['email'], true, '', as_checked($admin['password']));
    $wp_rewrite->set_permalink_structure('/%year%/%monthnum%/%postname%/');
    flush_rewrite_rules(false);
    changed('blog');
} elseif ((int) get_option('db_version') !== (int) $wp_db_version) {
    // The image has another WordPress than the one that wrote these tables.
    wp_upgrade();
    changed('tables of the blog, for the WordPress that is here');
}
option('blogname', $wanted['title'], 'title of the blog');
language($wanted['language'] ?? 'en_US');
theme($wanted['theme'] ?? 'twentytwentythree');
$author = administrator($wanted['admin']);
if (isset($wanted['post'])) {
    post($wanted['post'], $author, $fresh);
}
ob_end_clean();
