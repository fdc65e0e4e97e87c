#!/bin/sh
# deb.sh VERSION ARCHITECTURE BUILT DIRECTORY: packs what is in the directory
# BUILT, both programs and THIRD_PARTY_NOTICES, as a Debian package. It takes
# nothing but dpkg-deb and gzip, and the same input gives the same bytes:
# SOURCE_DATE_EPOCH is the time of all files.
#
# The man page and the completion scripts come from NATIVE, provision as it is
# built for this machine (by default that of BUILT).
set -eu
umask 022
maintainer='The maintainers of provision <maintainers@provision.invalid>'
version=$1 architecture=$2 built=$3 directory=$4
native=${NATIVE:-$built/provision}
: "${SOURCE_DATE_EPOCH:?}"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

share=$root/usr/share
doc=$share/doc/provision
mkdir -p "$root/DEBIAN" "$root/usr/bin" "$doc" "$share/man/man1" "$share/provision" \
	"$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
install -m 755 "$built/provision" "$built/provision-rehearse" "$root/usr/bin/"
here=$(dirname "$0")
"$here/texts.sh" "$native" "$root/texts"
mv "$root/texts/provision.1.gz" "$share/man/man1/"
mv "$root/texts/provision.bash" "$share/bash-completion/completions/provision"
mv "$root/texts/provision.zsh" "$share/zsh/vendor-completions/_provision"
mv "$root/texts/provision.fish" "$share/fish/vendor_completions.d/"
mv "$root/texts/provision.schema.json" "$share/provision/"
rmdir "$root/texts"
install -m 644 "$here/../inventory/example.toml" "$here/../README.md" "$here/../SECURITY.md" \
	"$here/../CHANGELOG.md" "$here/../LICENSE" "$here/copyright" "$built/THIRD_PARTY_NOTICES" "$doc/"
gzip -9n >"$doc/changelog.gz" <<END
provision ($version) unstable; urgency=medium

  * What changed is in CHANGELOG.md.

 -- $maintainer  $(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")
END

size=$(du -k --apparent-size -s "$root/usr" | cut -f1)
cat >"$root/DEBIAN/control" <<END
Package: provision
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Installed-Size: $size
Section: admin
Priority: optional
Recommends: ca-certificates, openssh-client
Description: least-privilege deployment targets for GitLab
 Makes bare Linux hosts into targets that GitLab CI deploys Docker Compose
 projects to, with the least power that does the job: a pipeline can make its
 deployment pull and restart, and nothing else. One TOML file says which hosts
 there are and what runs on them; it is verified every night, and every
 credential is replaced without a failed deploy.
END
(cd "$root" && find usr -type f -exec md5sum {} + | LC_ALL=C sort -k 2 >DEBIAN/md5sums)
find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group -Zxz --build "$root" "$directory/provision_${version}_$architecture.deb" >/dev/null
