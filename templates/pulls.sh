# pulls REGISTRY: prints the images of that registry which run in Compose projects of
# this user, each with the folder of its project.
pulls() {
	[ "$(systemctl is-active docker.service 2>/dev/null)" = active ] || return 0 # its socket would start it
	within 30 docker ps --all --format '{{.Image}} {{.Label "com.docker.compose.project.working_dir"}}' 2>/dev/null </dev/null | sort -u | while read -r image folder; do
		case $image in "$1"/*) ;; *) continue ;; esac
		case $folder in "$PWD"/*) printf '%s %s\n' "$image" "$folder" ;; esac
	done
}

# can FOLDER IMAGE: tells whether the logins of a folder can read an image.
can() { within 30 env "DOCKER_CONFIG=$PWD/$1" docker manifest inspect "$2" >/dev/null 2>&1 </dev/null; }
