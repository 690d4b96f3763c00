/** Makes sure that a Temporal executable is there before the tests start, and prints its path. */
import { findTemporal } from '../dev/temporal-binary.ts'

try {
  const found = await findTemporal({ env: process.env, say: (line) => console.error(line) })
  console.log(found.path)
} catch (error) {
  // With a server of somebody else's, only the tests that kill one need an executable: they are skipped.
  if (!process.env.TEMPORAL_ADDRESS) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
