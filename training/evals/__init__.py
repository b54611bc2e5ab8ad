"""How good a trained model is: questions from published samples, scores, intervals, floors, pictures, comparison."""
