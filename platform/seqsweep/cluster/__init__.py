"""Workers and the pool that holds them. The only room that imports ray."""
