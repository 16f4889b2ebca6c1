package usage

import "testing"

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "1023": 1023, "1KiB": 1024, "1536KiB": 1536 << 10, "64MiB": 64 << 20, "3GiB": 3 << 30, "4294967297": 1<<32 + 1,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if got := FormatSize(want); got != text {
			t.Errorf("FormatSize(%d) = %q, want %q", want, got, text)
		}
	}
	for _, text := range []string{"", "x", "-1", "+1", "1.5MiB", "1 MiB", "1mib", "1MB", "MiB", "0x10", "9223372036854775808", "8589934592GiB"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, n)
		}
	}
}

func FuzzSize(f *testing.F) {
	f.Add("64MiB")
	f.Add("18014398509481984KiB")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseSize(text)
		if err != nil {
			return
		}
		if again, err := ParseSize(FormatSize(n)); err != nil || again != n || n < 0 {
			t.Errorf("ParseSize(%q) = %d, as text %q, which is %d, %v", text, n, FormatSize(n), again, err)
		}
	})
}
