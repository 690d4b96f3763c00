/** Starts a model server as a process by its launch contract and waits until it listens. Knows no model. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'

export interface ServedModel {
  origin: string
  /** What the process has written to stderr so far. */
  errors: () => string
  /** SIGTERM; resolves to the exit code, null after a signal. */
  stop: () => Promise<number | null>
}

/**
 * Runs `command args`, which must print `{"msg":"listening",…}` as its first line of stdout. Rejects with stderr when
 * it ends before. Stopped at the end of the test.
 */
export async function serveModel(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<ServedModel> {
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit')
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString('utf8')
  })
  const line = await firstLine(child, () => errors)
  const { host, port }: { host: string; port: number } = JSON.parse(line)
  return {
    origin: `http://${host}:${port}`,
    errors: () => errors,
    stop: async () => {
      child.kill('SIGTERM')
      await ended
      return child.exitCode
    },
  }
}

function firstLine(child: ChildProcess, errors: () => string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  if (child.stdout) createInterface({ input: child.stdout }).once('line', resolve)
  child.once('error', reject)
  child.once('exit', (code) => reject(new Error(`the model server ended with ${code}:\n${errors()}`)))
  return promise
}

/** Posts JSON and returns status and parsed answer. */
export async function post(url: string, body: unknown): Promise<{ status: number; body: unknown }> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'mlrun-event-id': 'evt-1' },
    body: JSON.stringify(body),
  })
  return { status: response.status, body: await response.json() }
}
