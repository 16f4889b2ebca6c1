package commands

import (
	"log/slog"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/wstun/wstun/tunnel/escape"
)

// notifySystemd sends a state such as READY=1 to systemd, if wstun is a service of
// Type=notify: see sd_notify(3).
func (o *output) notifySystemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		o.logger.Warn("systemd not notified", slog.Any("err", err))
	}
}

// systemdStatus sets the line about the session that systemctl status prints.
func (o *output) systemdStatus(text string) {
	o.notifySystemd("STATUS=" + escape.Line(o.secrets.Mask(text)))
}
