"""What a person sees while a job runs, and at its end."""
