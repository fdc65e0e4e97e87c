# An image for the jobs of CI, as "provision render ci --verify --image" wants
# one: GitLab's runner starts a shell in it, so besides the program and the
# certificates of CAs there is busybox, and nothing else. provision-rehearse is
# left out: it boots hosts, as root of a Debian machine, which a job is not.
# Build it after "make package", which leaves the program in dist.
FROM debian:13-slim AS files
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static ca-certificates
RUN mkdir -p /image/bin /image/etc/ssl/certs /image/root /image/usr/bin && mkdir -m 1777 /image/tmp \
	&& cp /usr/bin/busybox /image/bin/ \
	&& for applet in $(/image/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "/image/bin/$applet"; done \
	&& cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
	&& for package in busybox-static ca-certificates; do install -D -m 644 "/usr/share/doc/$package/copyright" "/image/usr/share/doc/$package/copyright"; done \
	&& echo 'root:x:0:0:root:/root:/bin/sh' >/image/etc/passwd && echo 'root:x:0:' >/image/etc/group
ARG TARGETARCH=amd64
COPY --chmod=755 packaging/printenv.sh /image/bin/printenv
COPY dist/$TARGETARCH/provision /image/usr/bin/provision
COPY LICENSE dist/$TARGETARCH/THIRD_PARTY_NOTICES /image/usr/share/doc/provision/

FROM scratch
COPY --from=files /image /
ENV PATH=/usr/bin:/bin HOME=/root
CMD ["provision", "help"]
