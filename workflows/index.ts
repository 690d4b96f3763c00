/** Every workflow of the bundle. */
export { cleanup } from './cleanup.ts'
export { delivery } from './delivery.ts'
export { flight } from './flight.ts'
export { guard } from './guard.ts'
export { keeper } from './keeper.ts'
export { reaper } from './reaper.ts'
export { retention } from './retention.ts'
export { validation } from './validation.ts'
