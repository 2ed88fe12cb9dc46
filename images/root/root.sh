#!/bin/bash
# root.sh ROOT [SOURCE:TARGET…]: a file system with the programs that an official image holds, and no other. `programs`,
# `users` and `folders` beside it are that image's, from official.toml. Programs come from the stage that this runs in, with the libraries they
# need: of busybox where the list has that, else the real ones. Each SOURCE is a program or a folder of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$1
shift

libraries() { # FILE…
  { ldd "$@" 2>/dev/null || :; } | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' |
    # A Java machine brings its own.
    { grep -v '^/usr/lib/jvm/' || :; } | sort -u
}

copied=()
put() { # SOURCE TARGET
  mkdir -p "$root$(dirname "$2")"
  # Links within are followed: what they lead to may stay behind.
  cp -RL "$1" "$root$2" 2>/dev/null || [ -d "$root$2" ]
  while IFS= read -r file; do copied+=("$file"); done < <(find "$1" -follow -type f \( -perm -0100 -o -name '*.so*' \))
}

mkdir -p "$root"/{bin,dev,etc/ssl/certs,home,lib,lib64,proc,root,sys,usr/bin,usr/sbin}
chmod 0700 "$root/root"
applets=' '
if grep -qx /bin/busybox "$here/programs"; then
  cp "$(command -v busybox)" "$root/bin/busybox"
  applets=" $(busybox --list | tr '\n' ' ')"
else
  # Where the list has /usr/bin alone, /bin is a link to it.
  rmdir "$root/bin" "$root/lib" "$root/lib64"
  mkdir -p "$root/usr/lib" "$root/usr/lib64"
  ln -s usr/bin "$root/bin"
  ln -s usr/sbin "$root/sbin"
  ln -s usr/lib "$root/lib"
  ln -s usr/lib64 "$root/lib64"
fi
while IFS= read -r path; do
  name=${path##*/}
  case $path in /bin/* | /sbin/* | /usr/bin/* | /usr/sbin/*) ;; *) continue ;; esac
  [ ! -e "$root$path" ] || continue
  case $applets in
    *" $name "*)
      mkdir -p "$root$(dirname "$path")"
      ln -s /bin/busybox "$root$path"
      continue
      ;;
  esac
  for source in "/usr/bin/$name" "/usr/sbin/$name"; do
    if [ "$name" = sh ] && [ "$applets" = ' ' ]; then
      ln -s bash "$root$path"
    elif [ -f "$source" ] && [ "$(readlink -f "$source")" != "$(readlink -f "$(command -v busybox)")" ]; then
      put "$(readlink -f "$source")" "$path"
    else
      continue
    fi
    break
  done
done <"$here/programs"
for pair in "$@"; do put "${pair%%:*}" "${pair#*:}"; done
if [ ${#copied[@]} -gt 0 ]; then
  # All parts of the C library: native libraries in .jar files name parts that no program here does.
  {
    libraries "${copied[@]}"
    dpkg -L libc6 | grep -E '/lib[a-z]*\.so\.[0-9]+$'
  } | sort -u | while IFS= read -r library; do
    mkdir -p "$root$(dirname "$library")"
    [ -e "$root$library" ] || cp -L "$library" "$root$library"
  done
fi

while read -r name user group; do
  echo "$name:x:$user:$group::/:/bin/false" >>"$root/etc/passwd"
  [ "$user" != "$group" ] || echo "$name:x:$group:" >>"$root/etc/group"
done <"$here/users"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
# Those that the distribution trusts, not those of the machine that builds.
cat /usr/share/ca-certificates/mozilla/*.crt >"$root/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$root/usr/share"
cp -R /usr/share/zoneinfo "$root/usr/share/"
while read -r path user group mode; do
  mkdir -p "$root$path"
  chown "$user:$group" "$root$path"
  chmod "$mode" "$root$path"
done <"$here/folders"
