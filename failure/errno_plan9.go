package failure

// errnoTransient knows no error numbers: Plan 9 has none.
func errnoTransient(error) (transient, isErrno bool) { return false, false }

// errnoName knows no error numbers: Plan 9 has none.
func errnoName(error) string { return "" }
