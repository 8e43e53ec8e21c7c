"""Sessions on other machines, over SSH.

For backends that reach a machine's SSH server in their own way (a tunnel, say), `SshBackend(profile, site,
find_way=...)` takes a function that returns their own hops for a user. With the parts::

    hop = Hop(host, port, user, credentials, trust, route)
    pool = SshPool([hop], timing=Timing(...))          # shares connections; `await pool.close()` in the end
    await pool.host(order.tell)                        # connects, tells progress; raises BackendError
    environment = SshEnvironment(pool, order)          # terminals, exec, files, ports

`route` (`link.Route`): `async open() -> abilities.Connection`, a stream that leads to the SSH server, asked for each
time a connection is made; it may raise BackendError or OSError. `host` and `port` are then only names, for messages
and for `trust`. `trust` (`trust.Trust`): `known(host, port)` returns which keys the host may have, `keep` records one
that was believed on first use; `trust.RecordedKeys` does it in files. `credentials`: `credentials.Credentials`, paths
of files that are read for each connection. For anything else that speaks over the same connections: `SshPool.open`
(any asyncssh channel), `SshPool.run` (a script of POSIX shell), `SshEnvironment.execute` (a command with its streams).
`tests/support/sshd.py` runs a real server.
"""
