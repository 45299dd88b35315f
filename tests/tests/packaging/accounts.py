"""What the template of MariaDB does with accounts, on a server in memory that knows the statements which it uses. Run by
packaging.rs: `accounts.py MYSQL.PY`, silent where all holds."""

import contextlib
import importlib.util
import io
import json
import re
import sys
import types


class Server:
    """Accounts with what they have and where they may; sessions with their users."""

    def __init__(self):
        self.databases, self.users, self.rights, self.sessions = {}, {}, set(), {}

    def answer(self, statement, values):
        def said(pattern):
            return re.fullmatch(pattern, statement)

        if "FROM mysql.global_priv" in statement:
            return [(json.dumps(self.users[values[0]]),)] if values[0] in self.users else []
        if "information_schema.SCHEMATA" in statement:
            return [(self.databases[values[0]],)] if values[0] in self.databases else []
        if "information_schema.PROCESSLIST" in statement:
            return [(id,) for id, user in self.sessions.items() if user == values[0]]
        if of := said(r"CREATE DATABASE `(.+)` CHARACTER SET `(\w+)`"):
            self.databases[of[1]] = of[2]
        elif of := said(r"(CREATE|ALTER) USER '(.+)'@'%' IDENTIFIED VIA mysql_native_password USING '(.+)'"):
            assert (of[1] == "CREATE") != (of[2] in self.users), statement
            self.users[of[2]] = {"plugin": "mysql_native_password", "authentication_string": of[3]}
        elif of := said(r"DROP USER '(.+)'@'%'"):
            del self.users[of[1]]
            self.rights = {one for one in self.rights if one[0] != of[1]}
        elif of := said(r"SHOW GRANTS FOR '(.+)'@'%'"):
            return [(f"GRANT ALL PRIVILEGES ON `{at}`.* TO `{user}`@`%`",) for user, at in self.rights if user == of[1]]
        elif of := said(r"GRANT ALL PRIVILEGES ON `(.+)`\.\* TO '(.+)'@'%'"):
            self.rights.add((of[2], of[1]))
        elif of := said(r"REVOKE ALL PRIVILEGES ON `(.+)`\.\* FROM '(.+)'@'%'"):
            self.rights.remove((of[2], of[1]))
        elif of := said(r"KILL CONNECTION (\d+)"):
            del self.sessions[int(of[1])]
        else:
            raise AssertionError(f"the server does not know: {statement}")
        return []


server = Server()


class Cursor:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def execute(self, statement, values):
        self.rows = server.answer(statement, values)

    def fetchall(self):
        return self.rows


connection = types.SimpleNamespace(cursor=Cursor, escape=lambda text: f"'{text}'")
pymysql = types.ModuleType("pymysql")
pymysql.MySQLError = type("MySQLError", (Exception,), {})
pymysql.connect = lambda **_: connection
sys.modules["pymysql"] = pymysql

spec = importlib.util.spec_from_file_location("mysql", sys.argv[1])
mysql = importlib.util.module_from_spec(spec)
sys.dont_write_bytecode = True
spec.loader.exec_module(mysql)


def live(user, database, password="first password"):
    return {"user": user, "database": database, "password": password, "revoked": False}


def revoked(user, database):
    return {"user": user, "database": database, "revoked": True}


def converged(*grants, node=None):
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        mysql.accounts(node or {}, list(grants))
    return told.getvalue().splitlines()


def check(found, expected):
    assert found == expected, f"{found} is not {expected}"


# An account goes with its link, and its data stay.
check(converged(live("app", "crm")), ["database crm", "user app", "rights of user app in database crm"])
check(converged(live("app", "crm")), [])
server.sessions = {1: "app", 2: "other"}
check(converged(revoked("app", "crm")), ["no user app any more"])
check((server.users, server.rights, server.sessions, list(server.databases)), ({}, set(), {2: "other"}, ["crm"]))
check(converged(revoked("app", "crm")), [])

# One that was given again before it was taken back has what the new link has, and nothing of the old one.
converged(live("app", "crm"))
server.sessions = {1: "app"}
given_again = [live("app", "blog_1", "another password"), revoked("app", "crm")]
check(
    converged(*given_again),
    [
        "no rights of user app in database crm any more",
        "database blog_1",
        "password of user app",
        "rights of user app in database blog_1",
    ],
)
check((server.rights, server.sessions), ({("app", "blog\\_1")}, {}))
server.sessions = {1: "app"}
check(converged(*given_again), [])
check(server.sessions, {1: "app"})

# For the same database: nobody is in any more by the old password.
check(converged(live("app", "blog_1", "a third password"), revoked("app", "blog_1")), ["password of user app"])
check((server.rights, server.sessions), ({("app", "blog\\_1")}, {}))

# What the configuration has is nobody's to take back.
node = {"databases": {"crm": {"user": "app", "password": "a third password"}}}
check(converged(node=node), ["rights of user app in database crm"])
check(converged(revoked("app", "crm"), revoked("app", "blog_1"), node=node), ["no rights of user app in database blog_1 any more"])
check(server.rights, {("app", "crm")})
