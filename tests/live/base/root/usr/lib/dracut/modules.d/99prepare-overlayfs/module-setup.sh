#!/bin/bash
# dracut 059 in systemd mode: nobody makes the overlay's directories before sysroot.mount where the squashfs holds the
# root itself ("overlayfs: failed to resolve '/run/overlayfs'"). dracut 060 has a hook for it; so has this module.
check() { return 255; }

depends() { echo overlayfs; }

# shellcheck disable=SC2154 # moddir: set by dracut
install() { inst_hook pre-mount 01 "$moddir/prepare-overlayfs.sh"; }
