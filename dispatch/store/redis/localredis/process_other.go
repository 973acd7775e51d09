//go:build !linux

package localredis

import "syscall"

func diesWithParent() *syscall.SysProcAttr {
	return nil
}
