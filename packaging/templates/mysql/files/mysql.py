#!/usr/bin/env python3
"""What the node says of MariaDB, made so. A line on standard output for each thing that was not so before.

    mysql.py [settings] [accounts]

    settings     the server's settings file
    accounts     root's password, databases, users and what they may, in the running server: those of the configuration,
                 and those that were granted to linked containers

Values are read from the node itself ($DOCKERFORGE_NODE): through no shell, no template and no command line. Passwords never
reach the server either, which is given their hashes. No data are ever taken away: a database that the node does not name (any
more) is somebody's. A user goes only when the node says that it was revoked; one that was given again under the same name keeps
nothing of what was.
"""

import hashlib
import json
import os
import sys
import time

SETTINGS = "/etc/mysql/mariadb.conf.d/90-dockerforge.cnf"
SOCKET = "/run/mysqld/mysqld.sock"
# From everywhere: the network is the user's own, and names are not resolved.
HOST = "%"
# What no link may have, as the schema has it of the configuration.
SYSTEM = {"mysql", "sys", "information_schema", "performance_schema"}
OURS = {"root", "mysql", "mariadb.sys"}
# How long a server that has just been started may take, seconds.
PATIENCE = 60


class Refused(Exception):
    """What was asked cannot be; shown as it is."""


def changed(what):
    print(what, flush=True)


def settings(node):
    text = (
        "# Laid by Dockerforge, and laid anew when the configuration says otherwise.\n"
        "[mysqld]\n"
        f"bind-address = {node.get('bind', '0.0.0.0')}\n"
        # Nobody can be told apart by his name in a network of containers, and looking it up costs.
        "skip-name-resolve = ON\n"
        # 96 MiB would be copied into every new volume.
        "innodb_log_file_size = 32M\n"
    )
    try:
        with open(SETTINGS, encoding="utf-8") as old:
            if old.read() == text:
                return
    except FileNotFoundError:
        os.makedirs(os.path.dirname(SETTINGS), mode=0o755, exist_ok=True)
    with open(SETTINGS + ".new", "w", encoding="utf-8") as new:
        os.fchmod(new.fileno(), 0o644)
        new.write(text)
    os.replace(SETTINGS + ".new", SETTINGS)
    changed("settings of the server, read when it starts")


def connect():
    import pymysql

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return pymysql.connect(
                unix_socket=SOCKET, user="root", charset="utf8mb4", autocommit=True, init_command="SET sql_log_bin = 0"
            )
        except pymysql.err.OperationalError as error:
            # 2003: nobody listens there (yet).
            if error.args[0] != 2003 or time.monotonic() > deadline:
                raise Refused(f"the server cannot be asked: {error.args[1]}") from None
            time.sleep(0.2)


def name(text):
    """An identifier, quoted."""
    return "`" + text.replace("`", "``") + "`"


def native(password):
    """A password as mysql_native_password keeps it: the one method that every client knows."""
    return "*" + hashlib.sha1(hashlib.sha1(password.encode()).digest()).hexdigest().upper()


class Server:
    def __init__(self, connection):
        self.connection = connection

    def ask(self, statement, *values):
        import pymysql

        try:
            with self.connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall()
        except pymysql.MySQLError as error:
            raise Refused(f"the server refuses: {error.args[-1]}") from None

    def account(self, user, host):
        return self.connection.escape(user) + "@" + self.connection.escape(host)

    def authentication(self, user, host):
        found = self.ask("SELECT Priv FROM mysql.global_priv WHERE User = %s AND Host = %s", user, host)
        return json.loads(found[0][0]) if found else None

    def root(self, password):
        have = self.authentication("root", "localhost") or {}
        methods = [have, *have.get("auth_or", [])]
        by_socket = any(method.get("plugin") == "unix_socket" for method in methods)
        if by_socket and any(method.get("authentication_string") == native(password) for method in methods):
            return
        account = self.account("root", "localhost")
        # The socket remains: it is how the next converge comes in.
        self.ask(f"ALTER USER {account} IDENTIFIED VIA mysql_native_password USING '{native(password)}' OR unix_socket")
        changed("password of root")

    def database(self, database, charset):
        found = self.ask(
            "SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s", database
        )
        if not found:
            self.ask(f"CREATE DATABASE {name(database)} CHARACTER SET {name(charset)}")
            changed(f"database {database}")
        elif found[0][0] != charset:
            self.ask(f"ALTER DATABASE {name(database)} CHARACTER SET {name(charset)}")
            changed(f"character set of database {database}")

    def user(self, user, password):
        """Whether it has another password than before."""
        have = self.authentication(user, HOST)
        by = f"IDENTIFIED VIA mysql_native_password USING '{native(password)}'"
        if have is None:
            self.ask(f"CREATE USER {self.account(user, HOST)} {by}")
            changed(f"user {user}")
        elif have.get("plugin") != "mysql_native_password" or have.get("authentication_string") != native(password):
            self.ask(f"ALTER USER {self.account(user, HOST)} {by}")
            changed(f"password of user {user}")
            return True
        return False

    def drop(self, user):
        if self.authentication(user, HOST) is None:
            return
        self.ask(f"DROP USER {self.account(user, HOST)}")
        self.disconnect(user)
        changed(f"no user {user} any more")

    def disconnect(self, user):
        """Who is in already would stay, with what was allowed then."""
        for (session,) in self.ask("SELECT ID FROM information_schema.PROCESSLIST WHERE USER = %s", user):
            try:
                self.ask(f"KILL CONNECTION {int(session)}")
            except Refused:
                pass  # It has ended meanwhile.

    def rights(self, user, database):
        # In a grant, '_' and '%' stand for others: blog_1 would open blogs1, too.
        pattern = database.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        allowed = f"GRANT ALL PRIVILEGES ON {name(pattern)}.* TO {name(user)}@{name(HOST)}"
        has = allowed in [row[0] for row in self.ask(f"SHOW GRANTS FOR {self.account(user, HOST)}")]
        return has, f"ALL PRIVILEGES ON {name(pattern)}.*"

    def grant(self, user, database):
        has, all_there = self.rights(user, database)
        if not has:
            self.ask(f"GRANT {all_there} TO {self.account(user, HOST)}")
            changed(f"rights of user {user} in database {database}")

    def withdraw(self, user, database):
        if self.authentication(user, HOST) is None:
            return
        has, all_there = self.rights(user, database)
        if has:
            self.ask(f"REVOKE {all_there} FROM {self.account(user, HOST)}")
            self.disconnect(user)
            changed(f"no rights of user {user} in database {database} any more")


def accounts(node, grants):
    charset = "utf8mb4"
    configured = sorted((node.get("databases") or {}).items())
    wanted = [(database, of["user"], of.get("password"), of.get("charset", charset)) for database, of in configured]
    charsets = {database: of for database, _, _, of in wanted}
    for of in grants:
        if not of["revoked"]:
            wanted.append((of["database"], of["user"], of["password"], charsets.get(of["database"], charset)))
    passwords = {}
    for database, user, password, _ in wanted:
        if database in SYSTEM or user in OURS:
            raise Refused(f"database {database} and user {user}: one of them is the server's own")
        if password is None:
            raise Refused(f"database {database}: the node has no password of user {user}")
        if passwords.setdefault(user, password) != password:
            raise Refused(f"user {user} is given two passwords, the second one by database {database}")
    server = Server(connect())
    if node.get("root_password") is not None:
        server.root(node["root_password"])
    # First of all: what is revoked must not wait for what cannot be made.
    opened = {(user, database) for database, user, _, _ in wanted}
    revoked = sorted({(of["user"], of["database"]) for of in grants if of["revoked"]})
    for user, database in revoked:
        if user not in passwords:
            server.drop(user)
        elif (user, database) not in opened:
            server.withdraw(user, database)
    for database, user, password, of in wanted:
        server.database(database, of)
        if server.user(user, password) and user in dict(revoked):
            server.disconnect(user)
        server.grant(user, database)


def main():
    # The converge keeps what it writes to itself; settings are for every client program.
    os.umask(0o022)
    with open(os.environ["DOCKERFORGE_NODE"], encoding="utf-8") as file:
        whole = json.load(file)
    node, grants = whole.get("mysql") or {}, whole.get("dockerforge", {}).get("grants") or []
    doors = {"settings": lambda: settings(node), "accounts": lambda: accounts(node, grants)}
    for door in sys.argv[1:]:
        if door not in doors:
            raise Refused("usage: mysql.py [settings] [accounts]")
        doors[door]()


if __name__ == "__main__":
    try:
        main()
    except Refused as refused:
        sys.exit(str(refused))
