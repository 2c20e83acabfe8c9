package cli

import (
	"runtime"
	"runtime/debug"
)

// versionInfo is what perdure version prints.
type versionInfo struct {
	Version  string `json:"version"`            // of the module, "(devel)" for one that was built in its own folder
	Revision string `json:"revision,omitempty"` // of the source, where the build knew it
	Go       string `json:"go"`
}

func version() versionInfo {
	v := versionInfo{Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}
