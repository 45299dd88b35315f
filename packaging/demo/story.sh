# shellcheck shell=bash
# The story of the demo: databases are configured, built and launched; while they run they get one for the blog; the blog is
# configured, built, launched with a link that makes it a user there, and answers. Sourced by demo.sh after lib.sh and stream.sh.

TITLE="A day at the forge"
POST_TITLE="The first iron of the day"
POST="This post came with the configuration of the blog, and stands in a database that was made while its server ran."

# template NAME: leaves the id of a template in TEMPLATE.
template() {
  request GET "/v1/templates?name=$1"
  expect 200
  TEMPLATE=$(field '.items[0].id')
}

# configure NAME PARAMETERS: leaves the id of the new configuration in CONFIGURATION.
configure() {
  request POST /v1/configurations "$(jq -n --arg name "$1" --arg template "$TEMPLATE" --argjson parameters "$2" \
    '{name: $name, template: $template, parameters: $parameters}')"
  expect 201
  CONFIGURATION=$(field .id)
}

# build_configuration NAME: leaves the id of the new image in IMAGE.
build_configuration() {
  # shellcheck disable=SC2153 # HOST is the host's id
  request POST /v1/images "$(jq -n --arg name "$1" --arg host "$HOST" --arg configuration "$CONFIGURATION" \
    '{name: $name, host: $host, configuration: $configuration}')"
  expect 202
  follow "$LOCATION" "the build of $1"
  request GET "$LOCATION"
  expect 200
  IMAGE=$(field .id)
}

# launch NAME REST: leaves the id of the new container in CONTAINER.
launch() {
  request POST /v1/containers "$(jq -n --arg name "$1" --arg image "$IMAGE" --arg host "$HOST" --argjson rest "$2" \
    '{name: $name, image: $image, host: $host, restart: "unless-stopped"} + $rest')"
  expect 202
  follow "$LOCATION" "the creation of $1"
  CONTAINER=${LOCATION##*/}
}

# converge CONTAINER NAME: says what it changed.
converge() {
  request POST "/v1/containers/$1/converge" '{}'
  expect 202
  local job=$LOCATION
  SHOW='{id, kind, state, resource, result, error}' follow "$job" "the converge of $2"
  [ "$(field .state)" = succeeded ] || die "the converge of $2 failed; see GET $job"
  note "What it changed:"
  field '.result.resources[] | "- " + .resource' | indented
  [ "$(field '.result.resources | length')" -gt 0 ] || die "the converge of $2 changed nothing; see GET $job"
}

launch_databases() {
  step "Configure the databases: a template and what is chosen of it - nothing so far"
  note "Of the templates only some of what they say is shown; the rest is the schema of their parameters."
  SHOW='.items |= map({id, name, version, description, provides, requires, provisioner, run_list})' template mysql
  configure databases '{}'
  DATABASES_CONFIGURATION=$CONFIGURATION
  step "Build their image: 202 and a job; its log streams, 303 leads to the image"
  build_configuration databases
  step "Launch them, with a volume for the data"
  launch databases '{"volumes": [{"volume": "databases", "target": "/var/lib/mysql"}]}'
  DATABASES=$CONTAINER
}

add_database() {
  local password
  step "Add a database for the blog to the configuration: one more member, the rest stays"
  # What no shell, YAML, SQL, PHP or JSON may trip over, before what nobody can guess.
  password="\$ '\\\"\`x-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"
  note "Its password has a dollar, a blank, both quotes, a backslash and a backtick; it is given once and never shown again."
  request PATCH "/v1/configurations/$DATABASES_CONFIGURATION" "$(jq -n --arg password "$password" \
    '{parameters: {mysql: {databases: {blog: {user: "owner", password: $password}}}}}')"
  expect 200
  step "Converge: Ansible runs again in the running container, and makes what is not there yet"
  converge "$DATABASES" databases
}

launch_blog() {
  local editor
  step "Configure the blog: title, domain, theme, language, a first post; nothing of a database"
  SHOW='.items |= map({id, name, version, description, provides, requires, provisioner, run_list})' template wordpress
  editor=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
  (umask 077 && printf '%s\n' "$editor" >"$DEMO_DIR/blog-editor.password")
  configure blog "$(jq -n --arg title "$TITLE" --arg domain "${BLOG#http://}" --arg editor "$editor" \
    --arg post_title "$POST_TITLE" --arg post "$POST" '{wordpress: {
      title: $title, domain: $domain, theme: "twentytwentyone", language: "en_CA",
      admin: {user: "editor", email: "editor@example.org", password: $editor},
      post: {title: $post_title, content: $post}}}')"
  step "Build its image"
  build_configuration blog
  step "Launch it linked to the databases, which it knows as 'mysql' and which make it a user of its own in 'blog'"
  note "The job succeeds once the blog is installed: that user's password is made up, and is nowhere but in the two containers."
  launch blog "$(jq -n --argjson port "$BLOG_PORT" --arg databases "$DATABASES" '{
    ports: [{container: 80, host: $port}], links: [{container: $databases, alias: "mysql", provision: {database: "blog"}}],
    volumes: [{volume: "blog", target: "/var/lib/wordpress/wp-content"}]}')"
}

# The front page, as a visitor gets it: an error of WordPress is a page, too.
front_page() {
  PAGE=$(curl -fsS --noproxy '*' --max-time 20 "$BLOG/") && grep -qF "<title>$TITLE" <<<"$PAGE" && grep -qF "$POST" <<<"$PAGE"
}

fetch_blog() {
  step "Fetch the blog's front page"
  shown "curl $BLOG/"
  wait_until 30 "the blog's front page with its first post" front_page || die "the blog does not show its post: see $BLOG/"
  note "Of it:"
  grep -oE "<html[^>]*>|<title>[^<]*</title>|>$POST_TITLE<|<p>${POST:0:40}[^<]*" <<<"$PAGE" | sort -u | indented
}
