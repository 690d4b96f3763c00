/** Runs a tool to its end within a time limit, its output kept in a file instead of on the screen. */
import { spawn } from 'node:child_process'
import { accessSync, constants, createWriteStream, mkdirSync, readFileSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

/** Where the output of the tools is kept: for whoever wants to know why one failed. */
export const logFolder = join(tmpdir(), `perdure-tools-${process.getuid?.() ?? 0}`)

/**
 * Resolves when the tool ends with exit code 0; rejects with one line that names the log otherwise. The tool and all
 * that it started are killed at the time limit.
 */
export async function run(name, file, args, { limitMs, cwd, env = {} }) {
  mkdirSync(logFolder, { recursive: true })
  const log = join(logFolder, `${name}.log`)
  const output = createWriteStream(log, { flags: 'a' })
  const options = { cwd, detached: true, env: { ...process.env, ...env } }
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.pipe(output, { end: false })
  child.stderr.pipe(output, { end: false })
  let late = false
  const timer = setTimeout(() => {
    late = true
    if (child.pid) killGroup(child.pid)
  }, limitMs)
  const takeAlong = () => child.pid && killGroup(child.pid)
  process.once('exit', takeAlong)
  try {
    const end = await new Promise((done) => {
      child.on('error', (error) => done(error.code === 'ENOENT' ? 'is not installed' : error.message))
      child.on('close', (code, signal) =>
        done(code === 0 ? '' : `ended with ${signal ?? `exit code ${code}`}`),
      )
    })
    if (late) throw new Error(`${name} was not finished after ${Math.round(limitMs / 1_000)} s (${log})`)
    if (end) throw new Error(`${file} ${end} (${log})`)
  } finally {
    clearTimeout(timer)
    process.off('exit', takeAlong)
    output.end()
  }
}

/** Path of an executable on PATH or in one of the other folders. */
export function findExecutable(name, otherFolders = []) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...otherFolders].filter(
    (folder) => folder !== '',
  )
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** The last line of a log that says something. */
export function lastLine(file) {
  try {
    return readFileSync(file, 'utf8').trim().split('\n').at(-1)?.slice(0, 300) ?? ''
  } catch {
    return ''
  }
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // Gone in the meantime.
  }
}
