package limit

// topUp gives a stalled connection credit if it needs that for a message that fits: other
// messages may have used up the credit it had. The caller holds mu.
func (f *flow) topUp() {
	n := min(f.delayed, firstWindow)
	if n > 0 && f.expected > 0 && f.window < firstWindow {
		f.delayed -= n
		f.window += n
		go f.send(windowUpdate(0, n))
	}
}

// stall delays n bytes of the connection's credit if the connection is to be stalled. It
// reports whether it does.
func (f *flow) stall(n int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || !f.session.stall(f) {
		f.window += n
		return false
	}
	f.delayed += n
	f.topUp()
	return true
}

// resume gives the connection its delayed credit.
func (f *flow) resume() {
	f.mu.Lock()
	n := f.delayed
	f.window += n
	f.delayed = 0
	f.mu.Unlock()
	if n > 0 {
		f.send(windowUpdate(0, n))
	}
}
