/** Buckets of histograms of time. */

/** Buckets of the predecessor, and further ones for calls that take minutes. Seconds. */
export const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600]
