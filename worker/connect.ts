/** A worker's connection to Temporal: waits for a server that is away, gives up on one that refuses this deployment. */
import { setTimeout as delay } from 'node:timers/promises'
import { NativeConnection, type NativeConnectionOptions } from '@temporalio/worker'

export interface ConnectOptions {
  connection: NativeConnectionOptions
  namespace: string
  warn(text: string): void
}

const firstPauseMs = 500
const longestPauseMs = 5_000
/** gRPC status codes: grpc.github.io/grpc/core/md_doc_statuscodes.html */
const notFound = 5
const permissionDenied = 7
const unauthenticated = 16

/**
 * Undefined when told to stop first. Throws an `Error` of one line when the server does not accept our credentials or
 * has no such namespace.
 */
export async function connectWorker(
  options: ConnectOptions,
  stop: AbortSignal,
): Promise<NativeConnection | undefined> {
  let said = false
  for (let pauseMs = firstPauseMs; !stop.aborted; pauseMs = Math.min(longestPauseMs, pauseMs * 2)) {
    try {
      return await connectOnce(options)
    } catch (error) {
      if (error instanceof Refused) throw error
      if (!said) options.warn(`Temporal (TEMPORAL_ADDRESS) cannot be reached yet: ${wordsIn(error)}`)
      said = true
      await delay(pauseMs, undefined, { signal: stop }).catch(() => undefined)
    }
  }
  return undefined
}

async function connectOnce({ connection: to, namespace }: ConnectOptions): Promise<NativeConnection> {
  const connection = await NativeConnection.connect(to).catch((error: unknown) => {
    // The native client tells the status in words only.
    if (/valid authentication credentials|does not have permission/.test(String(error))) throw refused(error)
    throw error
  })
  try {
    await connection.workflowService.describeNamespace({ namespace })
    return connection
  } catch (error) {
    await connection.close()
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === notFound) throw new Refused(`Temporal has no namespace "${namespace}" (TEMPORAL_NAMESPACE)`)
    if (code === permissionDenied || code === unauthenticated) throw refused(error)
    throw error
  }
}

class Refused extends Error {}

function refused(error: unknown): Refused {
  return new Refused(
    `Temporal does not accept our credentials (TEMPORAL_API_KEY, TEMPORAL_TLS_*): ${wordsIn(error)}`,
  )
}

/** The innermost words of the native client's description, which is a dump of nested structures. */
function wordsIn(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return /(?:message|error): "([^"]+)"/.exec(text)?.[1] ?? text.split('\n', 1)[0] ?? text
}
