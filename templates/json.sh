# json look HOST FILE: prints what a Docker config.json says about the logins
# of HOST: "store NAME", "helper NAME", "auth VALUE", and "other" where there is
# a login in another form. Fails if it is not JSON, or says the same thing twice.
#
# json entry HOST FILE: prints the login of HOST as it stands there.
#
# json put HOST FILE: prints the file with another login for HOST, which
# comes on standard input as it is to stand there; every byte that is not about
# that login stays. An empty FILE is a new one.
#
# json logout HOST FILE: prints the file without the login of HOST, as it was
# before json put; nothing at all if that was a new one.
json() {
	[ "$(tr -d '\000' <"$3" | cksum)" = "$(cksum <"$3")" ] || return 1 # awk may read past a NUL byte
	awk -v mode="$1" -v host="$2" -v newline="$([ -n "$(tail -c 1 "$3")" ] || echo yes)" '
	function at() { return substr(s, p, 1) }
	function space() { while (at() ~ /[ \t\r\n]/) p++ }
	function text(  from, c) {
		if (at() != "\"") { bad = 1; return "" }
		from = ++p
		while ((c = at()) != "\"") {
			if (c == "" || c ~ /[\001-\037]/) { bad = 1; return "" }
			if (c != "\\") p++
			else if (match(substr(s, p, 6), /^\\(["\\\/bfnrt]|u[0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f][0-9A-Fa-f])/)) p += RLENGTH
			else { bad = 1; return "" }
		}
		p++
		return substr(s, from, p - 1 - from)
	}
	function members(path, close_,  key, n, last) {
		p++; space(); inside[path] = p
		if (at() == close_) { hollow[path] = 1; p++; return }
		for (;;) {
			key = "\002" n++
			space(); began = p
			if (close_ == "}") {
				key = "\001" text(); space()
				if (bad || at() != ":" || ((path key) in from)) { bad = 1; return }
				if (key ~ /\\/ && (path == "" || path == "\001auths")) { bad = 1; return }
				p++
				start[path key] = began; before[path key] = last; last = path key
			}
			value(path key)
			space()
			if (bad || (at() != "," && at() != close_)) { bad = 1; return }
			p++
			if (substr(s, p - 1, 1) == close_) return
		}
	}
	function value(path) {
		space(); from[path] = p; kind[path] = at()
		if (at() == "{") members(path, "}")
		else if (at() == "[") members(path, "]")
		else if (at() == "\"") string[path] = text()
		else if (match(substr(s, p, 400), /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)/)) p += RLENGTH
		else bad = 1
		to[path] = p
	}
	function splice(a, b, new) { printf "%s%s%s", substr(s, 1, a - 1), new, substr(s, b) }
	function cut(path,  a, b) {
		a = start[path]; p = to[path]; space()
		if (at() == ",") { p++; space(); b = p }
		else if (before[path] == "") b = p
		else { a = to[before[path]]; b = to[path] }
		splice(a, b, "")
	}
	FILENAME == "-" { entry = entry more $0; more = "\n"; next }
	{ s = s sep $0; sep = "\n" }
	END {
		p = 1; space()
		if (at() == "") {
			if (mode == "put") printf "{\n\t\"auths\": {\n\t\t\"%s\": %s\n\t}\n}\n", host, entry
			exit
		}
		value(""); space()
		auths = "\001auths"; ours = auths "\001" host
		if (bad || at() != "" || kind[""] != "{" || ((auths in from) && kind[auths] != "{")) exit 1
		if (mode == "look") {
			if ("\001credsStore" in string) print "store " string["\001credsStore"]
			if (("\001credHelpers\001" host) in string) print "helper " string["\001credHelpers\001" host]
			if ((ours "\001auth") in string) print "auth " string[ours "\001auth"]
			if (string[ours "\001auth"] == "" && string[ours "\001identitytoken"] string[ours "\001registrytoken"] string[ours "\001username"] != "") print "other"
			exit
		}
		if (mode == "entry") {
			if (ours in from) print substr(s, from[ours], to[ours] - from[ours])
			exit
		}
		if (newline) s = s "\n"
		if (mode == "logout") {
			if (!(ours in from)) { printf "%s", s; exit }
			first = substr(s, from[auths], start[ours] - from[auths]); end = substr(s, to[ours], to[auths] - to[ours])
			if (first != "{\n\t\t" || end != "\n\t}") cut(ours)
			else if (substr(s, 1, start[auths] - 1) != "{\n\t" || substr(s, to[auths]) != "\n}\n") cut(auths)
			exit
		}
		if (ours in from) splice(from[ours], to[ours], entry)
		else if (auths in from) splice(inside[auths], inside[auths], "\"" host "\": " entry (hollow[auths] ? "\n\t" : ",\n\t\t"))
		else splice(inside[""], inside[""], "\"auths\": {\n\t\t\"" host "\": " entry "\n\t}" (hollow[""] ? "\n" : ",\n\t"))
	}' - "$3"
}
