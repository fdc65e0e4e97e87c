# The same nine settings, for pyinfra.
from pyinfra.operations import files, server, systemd

sudo = {"_sudo": True}
home = "/home/deploy-user"

systemd.service(service="docker.service", running=True, enabled=True, **sudo)
server.group(group="docker", **sudo)
server.user(user="deploy-user", system=True, shell="/bin/sh", groups=["docker"], ensure_home=False, **sudo)
files.directory(path="/usr/local/lib/provision", user="root", group="root", mode="755", **sudo)
files.file(path="/usr/local/lib/provision/gate", user="root", group="root", mode="755", **sudo)
files.file(path="/etc/provision/deployments/app", user="root", group="root", **sudo)
files.line(path=f"{home}/.ssh/authorized_keys", line='gate app"', present=True, **sudo)
files.file(path=f"{home}/.ssh/known_hosts", user="deploy-user", **sudo)
files.directory(path=f"{home}/frobnicator/.git", **sudo)
