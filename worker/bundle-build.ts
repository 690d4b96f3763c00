/** Builds the workflow bundle in a process of its own, which takes the bundler's memory along when it ends. */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { bundleWorkflowCode } from '@temporalio/worker'

const [workflowsPath = '', codePath = '', ...workflowInterceptorModules] = process.argv.slice(2)
const ignore = () => undefined
const logger = { log: ignore, trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore }

const { code } = await bundleWorkflowCode({ workflowsPath, workflowInterceptorModules, logger })
mkdirSync(dirname(codePath), { recursive: true })
// Another process may build the same: the last rename wins, and both are right.
const half = `${codePath}.${process.pid}`
writeFileSync(half, code)
renameSync(half, codePath)
