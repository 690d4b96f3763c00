/** The launch contract (specification, 7.8): load, listen, say so on stdout, drain on SIGTERM, end with a code. */

import { errorMessage, errorText } from './errors.ts'
import { listen } from './listen.ts'
import { type ModuleSettings, serverFromModule } from './user-module.ts'

export interface ServeOptions extends ModuleSettings {
  /** Path or file URL of the user's module. */
  module: string
  /** Default 127.0.0.1. */
  host?: string
  /** Default 0 = any free port. */
  port?: number
  /** How long running requests may take after the first signal. Default 8000. */
  gracePeriodMs?: number
}

/**
 * Serves until SIGTERM or SIGINT and resolves to the exit code: 0 after a drain, 1 when the module or a model does
 * not load (the message is on stderr and no port was opened) or the address is taken. A second signal ends the
 * process at once with 1.
 */
export async function serve(options: ServeOptions): Promise<number> {
  const { module, host = '127.0.0.1', port = 0, gracePeriodMs = 8000 } = options
  const signals = watchSignals()
  try {
    const server = await serverFromModule(module, options)
    if (server.state === 'new') await server.start()
    const listening = await listen(server, { host, port })
    process.stdout.write(
      `${JSON.stringify({ msg: 'listening', host: listening.host, port: listening.port })}\n`,
    )
    await signals.first
    await server.stop({ gracePeriodMs })
    await listening.close()
    return 0
  } catch (error) {
    process.stderr.write(`${errorMessage(error)}\n`)
    process.stderr.write(`${errorText(rootOf(error), true)}\n`)
    return 1
  } finally {
    signals.stop()
  }
}

function watchSignals(): { first: Promise<void>; stop: () => void } {
  let seen = 0
  let go = () => {}
  const first = new Promise<void>((resolve) => {
    go = resolve
  })
  const onSignal = () => {
    seen++
    if (seen > 1) process.exit(1)
    go()
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  return {
    first,
    stop: () => {
      process.off('SIGTERM', onSignal)
      process.off('SIGINT', onSignal)
    },
  }
}

function rootOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? error.cause : error
}
