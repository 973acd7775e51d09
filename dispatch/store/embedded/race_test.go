//go:build race

package embedded

// applyAllocations is what Apply may allocate for a batch of 64 new statuses. The
// race detector makes pools forget at random.
const applyAllocations = 150
