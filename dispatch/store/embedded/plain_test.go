//go:build !race

package embedded

// applyAllocations is what Apply may allocate for a batch of 64 new statuses.
const applyAllocations = 72
