/** Commands that become another program of the project: each hands its arguments over to that program's main file. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'

const programs = [
  ['start', 'dev', 'everything on this machine: Temporal, store, sample model server, worker and API'],
  ['api', 'api', 'the API process'],
  ['worker', 'worker', 'a worker process'],
  ['records', 'records', 'the record service alone'],
  ['serve', 'modelserver', 'a model server: perdure serve <module.ts> [--port …]'],
  ['twin', 'dev/twins', 'a provider to develop against: perdure twin replicate|runpod'],
  ['bench', 'bench', 'benchmarks (in a clone of the repository)'],
] as const

export function addProcesses(program: Command): void {
  for (const [name, folder, description] of programs) {
    program
      .command(`${name} [arguments...]`)
      .description(description)
      .helpOption(false)
      .allowUnknownOption()
      .passThroughOptions()
      .action((args: string[]) => become(folder, args))
  }
}

/** This process becomes that program: signals, exit code, terminal and memory are its own. */
async function become(folder: string, given: string[]): Promise<void> {
  // `.ts` in a clone, `.js` in the package.
  const file = fileURLToPath(new URL(`../${folder}/main${extname(import.meta.url)}`, import.meta.url))
  if (!existsSync(file)) {
    console.error('perdure: this program is not part of the package; it needs a clone of the repository')
    process.exit(2)
  }
  const args = [...process.execArgv, file, ...given]
  // The same process goes on as the other program; where the system has no such call, a child stands in for it.
  if (process.platform !== 'win32') process.execve?.(process.execPath, [process.execPath, ...args])
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal))
  // A terminal sends Ctrl-C to both; the program decides what it means.
  process.on('SIGINT', () => undefined)
  child.on('exit', (code, signal) => {
    process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]))
  })
}
