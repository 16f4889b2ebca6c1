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

// systemdReady tells systemd that everything on this machine is ready. It doesn't wait for
// a session, as --ready-file does, because the start of the machine would wait for the peer,
// and systemd kills a service that doesn't start in time.
func (o *output) systemdReady() { o.notifySystemd(daemon.SdNotifyReady) }

// systemdStatus sets the line about the session that systemctl status prints.
func (o *output) systemdStatus(text string) {
	o.notifySystemd("STATUS=" + escape.Line(o.secrets.Mask(text)))
}
