# $1 is a clone, and then come files in it: those that are as we have written them
# go, and the folders that we have made for them, if they are empty. A folder that is
# not, and has none of ours, is somebody else's from then on.
enter "$1" || return 0
lock_clone
shift
for file; do
	! [ -e "$file" ] || as_written "$file" cat "$file" || continue
	rm -f "$file"
	keep_note "$file"
done
! [ -f "$notes" ] || sed -n 's/^made //p' "$notes" | sort -r | while read -r folder; do
	rmdir "$folder" 2>/dev/null || ! grep -qsF "wrote $folder/" "$notes" || continue
	keep_note "$folder"
done
